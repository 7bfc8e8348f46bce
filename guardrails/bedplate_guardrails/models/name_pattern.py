"""People's names by what stands around them, and what is not a name although it looks like one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_LETTER = r"[^\W\d_]"
_UPPER = r"[A-ZÀ-ÖØ-ÞĀ-ſΆ-ΏΑ-ΫЀ-Я]"
_PART = rf"{_UPPER}(?:[\w'’-]{{1,30}}|\.)"
_JOIN = r"(?:de|da|di|del|della|dos|du|van|von|der|den|ten|ter|bin|ibn|al|el|la|le|y|af|av|zu|zur)"
_FULL = rf"{_PART}(?:[ ](?:{_JOIN}[ ]){{0,2}}{_PART}){{0,3}}"
_LOWER = rf"{_LETTER}[\w'’-]{{2,30}}(?:[ ]{_LETTER}[\w'’-]{{2,30}})?"

TITLE = (
    r"(?:[Mm]rs?|[Mm]s|[Mm]iss|[Mm]x|[Dd]r|[Pp]rof|[Pp]rofessor|[Ss]ir|[Mm]adam|[Ff]rau|[Hh]err|[Ss]eñora?"
    r"|[Mm]onsieur|[Mm]adame|MR|MRS|MS|DR)\.?"
)

TITLES = re.compile(
    rf"^(?:(?:{TITLE}|Sr\.|Sra\.|Rev\.?|Hon\.?|Capt\.?|Lt\.?|Sgt\.?|Col\.?|Gen\.?|President|Senator|Governor|King|Queen"
    r"|Prince|Princess|Pope|Saint|St\.|Lord|Lady|Judge|Justice|Coach|Uncle|Aunt|Dear|Hi|Hello|Hey|Thanks|T"
    r"he|the|Ex|ex|A|An)"
    r"[ ]+)+"
)

_CUES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<!\w)(?:{TITLE})[ ](?P<name>{_FULL})",
        rf"(?<!\w)(?i:mrs?|ms|miss|dr|prof)\.[ ](?P<name>{_LETTER}[\w'’-]{{2,30}})",
        rf"(?i:\bmy (?:\w+ )?(?:full |first |last |maiden |middle )?name is|\bmy name['’]s|\b(?:his|her|their|m"
        rf"aiden|full|first|last|sur|user)[ ]?name is"
        rf"|\bi am called|\b(?:is|am|are|was) (?:called|named)|\bcall me|\bknown as|\bsigned,?|\bthis is|\byour"
        rf"s truly,?"
        rf"|\bspeak(?:ing)? (?:to|with)|\bmeet(?:ing)? with|\bfollow up with|\bchange it to|\bit['’]s under)[ ]"
        rf"(?P<name>{_FULL})",
        rf"(?i:\bmy (?:first |last |full )?name is|\bmy name['’]s|\bmaiden name is)[ ](?P<name>{_LOWER})",
        rf"(?im:^|(?<=[\n.]))[ >]*(?:[Dd]ear|[Hh]i|[Hh]ello|[Hh]ey)[ ](?P<name>{_FULL})(?=[ ]?[,!\n])",
        rf"(?i:(?:best|kind|warm|many)? ?regards|sincerely(?: yours)?|yours (?:truly|faithfully|sincerely)|chee"
        rf"rs|best wishes"
        rf"|best|thanks|thank you|love|signed),?\s*\n\s*(?P<name>{_FULL})[ ]*(?=\n|$|[,.])",
        rf"(?im:^|(?<=[,;|\n]))[ \t>]*(?i:(?:full |first |last |customer |patient |employee |client |contact |a"
        rf"ccount |cardholder )?name"
        rf"|patient|attn|attention|contact person|signed by|recipient|from|author)[ \t]*:[ \t]*(?P<name"
        rf">{_FULL})(?=[ \t]*(?:[,;.|\n(<]|$))",
        rf"(?i:\b(?:['’]s|user|under the|under) name) (?P<name>{_PART}(?:[ ]{_PART}){{1,3}})",
        rf"(?i:name on the account\?? ?(?:user:)?)[ ](?P<name>{_FULL})",
        rf"(?P<name>{_FULL})(?=,? (?i:born on|born in|\(born|aged? \d|PhD\b|M\.?D\.|Jr\.|Esq))",
        rf"(?P<name>{_FULL})(?= (?:lives|lived|resides|was born|is married|got married|spent a year))",
    )
)

_GIVEN = frozenset(
    re.findall(
        r"\w+",
        """James Robert John Michael David William Richard Joseph Thomas Charles Christopher Daniel Matthew Anthony
        Donald Steven Paul Andrew Joshua Kenneth Kevin Brian George Timothy Ronald Edward Jason Jeffrey Ryan
        Jacob Gary Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander
        Patrick Frank Raymond Jack Dennis Jerry Tyler Aaron Jose Adam Nathan Henry Douglas Zachary Peter Kyle
        Ethan Walter Noah Jeremy Christian Keith Roger Terry Harold Sean Austin Gerald Carl Arthur Lawrence
        Dylan Jesse Bryan Joe Jordan Billy Bruce Albert Willie Gabriel Logan Alan Juan Wayne Roy Ralph Randy
        Eugene Vincent Russell Elijah Louis Bobby Philip Johnny Mary Patricia Jennifer Linda Elizabeth Barbara
        Susan Jessica Sarah Karen Lisa Nancy Betty Margaret Sandra Ashley Kimberly Emily Donna Michelle Carol
        Amanda Dorothy Melissa Deborah Stephanie Rebecca Sharon Laura Cynthia Kathleen Amy Angela Shirley Anna
        Brenda Pamela Emma Nicole Helen Samantha Katherine Christine Debra Rachel Carolyn Janet Catherine Maria
        Heather Diane Ruth Julie Olivia Joyce Virginia Victoria Kelly Lauren Christina Joan Evelyn Judith Megan
        Andrea Cheryl Hannah Jacqueline Martha Gloria Teresa Ann Sara Madison Frances Kathryn Janice Jean
        Abigail Alice Julia Judy Sophia Denise Amber Doris Marilyn Danielle Beverly Isabella Theresa Diana
        Natalie Brittany Charlotte Marie Kayla Alexis Lori Hans Klaus Jürgen Günter Wolfgang Heinz Uwe Dieter
        Karl Stefan Andreas Matthias Lukas Felix Jonas Leon Finn Lena Mia Lea Sabine Petra Monika Ursula Renate
        Ingrid Brigitte Heike Anke Katrin Pierre Jacques François Philippe Michel Alain Nicolas Julien Antoine
        Camille Chloé Manon Claire Sophie Isabelle Nathalie Céline Juliette Luca Marco Giuseppe Giovanni Antonio
        Mario Luigi Francesco Paolo Andrea Giulia Chiara Francesca Elena Valentina Carlos Luis Miguel Javier
        Alejandro Fernando Pablo Diego Sergio Jorge Pedro Manuel Carmen Lucía Ana Isabel Pilar Rosa Marta João
        Tiago Rui Inês Catarina Beatriz Piotr Krzysztof Andrzej Tomasz Paweł Katarzyna Agnieszka Małgorzata Ivan
        Dmitri Sergei Vladimir Alexei Nikolai Boris Yuri Olga Natasha Tatiana Svetlana Irina Anastasia Ekaterina
        Jan Pieter Willem Hendrik Kees Anouk Sanne Lars Erik Anders Magnus Björn Sven Nils Ole Knut Olav Mikael
        Johan Gustav Astrid Freja Sigrid Solveig Pekka Matti Juha Mika Aino Päivi Mohammed Muhammad Mohamed
        Ahmed Ali Omar Hassan Hussein Ibrahim Yusuf Fatima Aisha Khadija Layla Zainab Raj Rahul Amit Sanjay Anil
        Vijay Arjun Priya Anjali Neha Pooja Deepika Sunita Wei Li Ming Hiroshi Kenji Takashi Yuki Akira Haruka
        Sakura Yoko Min Jin Ji Kwame Kofi Amara Chinedu Ngozi Oluwaseun Thabo Zoltán László István Ferenc Péter
        Éva Katalin Zsófia Jiří Petr Pavel Tomáš Jana Lenka Nikos Giorgos Dimitris Eleni Emre Mehmet Mustafa
        Ayşe Elif""",
    )
)
_SMALL = re.compile(r"(?<![\w@./-])[a-zà-öø-ÿ]{3,20}(?![\w@/])")
_WORD = re.compile(r"[\w-]+")
_BY_GIVEN = re.compile(
    rf"(?<!\w)(?P<first>{_UPPER}[\w'’-]{{1,20}})(?P<rest>(?:[ ](?:{_JOIN}[ ]){{0,2}}{_PART}){{1,3}})"
)

NOT_NAMES = frozenset(
    word.lower()
    for word in re.findall(
        r"[\w.+#-]+",
        """January February March April May June July August September October November December Monday Tuesday
        Wednesday Thursday Friday Saturday Sunday Christmas Easter Halloween Ramadan Diwali Hanukkah Claude
        ChatGPT GPT Gemini Bard Copilot Alexa Siri Cortana Llama Mistral Qwen DAN Grok Bot Assistant User System
        Human AI Python Java JavaScript TypeScript Ruby Rust Swift Kotlin Scala Perl Haskell Julia Django Flask
        Rails React Angular Vue Node Docker Kubernetes Git GitHub Linux Ubuntu Debian Windows Excel Word Outlook
        Teams Slack Zoom Google Amazon Apple Microsoft Netflix Uber Lyft Visa Mastercard Amex PayPal Venmo Zelle
        Walmart Target Costco Tesla Ford Honda Toyota Facebook Instagram Twitter TikTok Snapchat YouTube Reddit
        Discord Spotify Pandora Wikipedia Oracle Salesforce SAP IBM Intel Nvidia Sony Samsung Nokia Nike Adidas
        Minecraft Fortnite Pokemon Zelda Mario Batman Superman God Jesus Christ Allah Buddha Lord Bible Quran
        Sir Madam Mr Mrs Ms Dr Prof Mom Dad Mum Grandma Grandpa Bro Dude Ok Okay Yes No Please Thanks Thank
        Hello Hi Hey Dear Regards Hmm Oh Wow Lol Hola Bonjour Ciao Subject Date Email Phone Fax Tel Address Name
        Customer Client Manager Director President Team Support Service Account Order Suite Apt Apartment Unit
        Street Avenue Road Box Todo Monopoly Chess Sudoku Bitcoin Ethereum Dogecoin Solana Covid Chardonnay
        Merlot Alfredo Caesar Marinara Lasagna Tikka Masala Chipotle Applebee Denny Wendy McDonald Starbucks
        Kindle Roomba Bluetooth Wi-Fi WiFi Macbook iPhone Android PTO APR HR CEO CTO PIN ATM SSN W2 W-2 401k IRA
        NASA FBI CIA LGBTQ DIY SQL HTML JSON XML""",
    )
)
_PLACE_TAIL = frozenset(
    re.findall(
        r"\w+",
        "street road avenue lane drive court square garden gardens park hills hill greens bypass bridge river"
        " lake mountain "
        "island beach valley city county university college school hospital church museum theatre theater sta"
        "dium arena "
        "hotel restaurant cafe airport station center centre tower building inc ltd llc corp gmbh company group bank "
        "association foundation institute club website novel magazine times post journal awards award festival league",
    )
)
_AMBIGUOUS = frozenset(
    re.findall(
        r"\w+",
        "mark will grace faith rose frank bill jean may sue drew jack dean guy art christian jordan austin "
        "virginia victoria charlotte sandra amber gloria carmen manual wayne bruce roy carol joy joyce scott "
        "brandon logan "
        "diana aisha luis elena min jin ji ming li wei ole kees rui mario petr jana ana rosa eva julia alexis"
        " kelly florence",
    )
)
_NOT_FIRST = frozenset(
    word.lower()
    for word in re.findall(
        r"\w+",
        """The This That These Those What When Where Why How Who Which Is Are Was Were Do Does Did Can Could Will
        Would Should If And But Or So For From With In On At By To My Your Our His Her Its Their It He She They
        We You I Tell Give Show Write Make Explain Describe Create List Find Get Let Use Please As An A Also
        After Before Then There Here Not Some Any All More Most Each Every One Two Three First Second New Old
        Good Bad Best Great Big Book Call Add Set Play Send Open Close Turn Follow Check Change Ask Go Come Take
        Put Bring Meet Hire Contact""",
    )
)


def cued(text: str) -> Iterator[tuple[int, int]]:
    """Spans that must be names because of what stands around them; in no order."""
    for pattern in _CUES:
        for match in pattern.finditer(text):
            yield match.span("name")
    for match in _BY_GIVEN.finditer(text):
        if match["first"] in _GIVEN:
            yield match.span()


def is_given(word: str) -> bool:
    """Whether a word is a common given name that is rarely anything else."""
    return word in _GIVEN and word.lower() not in _AMBIGUOUS


def capitalised(text: str) -> str:
    """A text in small letters with its given names in capitals, as long as before; any other text as it is."""
    if text != text.lower():
        return text
    return _SMALL.sub(
        lambda match: match.group().capitalize() if is_given(match.group().capitalize()) else match.group(), text
    )


def again(text: str, names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where a part of a found full name stands again by itself, with a capital."""
    parts = {part for name in names for part in name.split() if len(part) > 3 and part[0].isupper()}
    parts = {part for part in parts if part.lower() not in NOT_NAMES and part.lower() not in _NOT_FIRST}
    for match in _WORD.finditer(text):
        if match.group() in parts:
            yield match.span()


def trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """A name's span without titles, leading small words, possessives and signs; `None` where no name is left."""
    title = TITLES.match(text[start:end])
    if title is not None:
        start += title.end()
    while start < end:
        first = re.match(r"[\w'’-]+", text[start:end])
        if first is None:
            start += 1
        elif first.group().lower() in _NOT_FIRST:
            start += first.end()
        else:
            break
    newline = text.find("\n", start, end)
    end = end if newline < 0 else newline
    while end > start and not (
        text[end - 1].isalnum() or (text[end - 1] == "." and text[end - 3 : end - 2] in (" ", ""))
    ):
        end -= 1
    for tail in ("'s", "’s"):
        if text[start:end].endswith(tail):
            end -= 2
    return (start, end) if _may_be_name(text[start:end]) else None


def _may_be_name(name: str) -> bool:
    parts = name.split()
    if not parts or len(name) < 2 or len(parts) > 6 or any(char in "0123456789@/\\_#=<>{}[]()|*" for char in name):
        return False
    plain = [part.strip(".,'’-").lower() for part in parts]
    if plain[0] in NOT_NAMES or all(part in NOT_NAMES or part in _NOT_FIRST for part in plain):
        return False
    if len(parts) > 1 and plain[-1] in _PLACE_TAIL:
        return False
    return len(parts) > 1 or len(name) > 2


__all__ = ["NOT_NAMES", "TITLES", "again", "capitalised", "cued", "is_given", "trimmed"]
