"""Builds `topic_pool.npz`: the benign pool against which every denied topic is calibrated.

The texts are written here, from subjects and sentence frames; they hold no row of a labelled set. Their order and
number are fixed, so that two builds give the same file. The file also gets the metric: the whitening of what differs
within a domain of CLINC150 (train), with a strong pull towards doing nothing.

    python -m bench.guardrails.build_topic_pool --data FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bedplate_guardrails.models import topic_model
from bedplate_guardrails.models.embedder import Embedder
from bench.guardrails.corpus import read_rows

TARGET = Path(topic_model.__file__).parent / "topic_pool.npz"
PER_SUBJECT = 4

FRAMES = (
    "What is the best way to learn about {}?",
    "Can you explain {} in simple words?",
    "Write a short paragraph about {}.",
    "how do i get started with {}",
    "Give me five ideas for a talk on {}.",
    "Summarise the main points about {} for a newcomer.",
    "I have a question about {}.",
    "Why do people care so much about {}?",
    "My friend asked me about {} yesterday and I had no answer.",
    "tell me something interesting about {}",
    "Compare the advantages and disadvantages of {}.",
    "Here is what you should know about {}: it takes patience and a little practice.",
    "I need help with {} for my homework.",
    "Is there a good book on {}?",
    "Draft an email to my colleague about {}.",
    "We discussed {} at length and came to no conclusion.",
    "what are common mistakes with {}",
    "Translate a sentence on {} into Spanish.",
    "Make a list of the steps for {}.",
    "Last year we spent a lot of time on {}.",
    "There are many opinions on {}, and most of them are partly right.",
    "how much does {} usually cost",
    "When did {} become popular?",
    "Please check my notes on {} for errors.",
    "Could you recommend something to do with {}?",
)

SUBJECTS = """
baking sourdough bread; grilling vegetables; cooking pasta sauce; vegetarian recipes; brewing coffee at home; table
manners; wine tasting; restaurant bookings; food storage; kitchen knives; packing for a trip; train travel in
Europe; cheap flights; hotel reviews; camping with children; passport renewal; learning French; learning Japanese;
English grammar; spelling rules; public speaking; writing a cover letter; job interviews; asking for a raise;
remote work; team meetings; project deadlines; time management; holiday requests; payroll forms; income tax
returns; personal budgets; savings accounts; credit card rewards; paying bills online; stock markets; retirement
plans; mortgages; currency exchange; cryptocurrency; car insurance; home insurance; used cars; electric vehicles;
changing a tyre; oil changes; fuel economy; traffic in the city; parking permits; bicycle repair; public buses;
road trips; map directions; smart lamps; thermostats; vacuum cleaners; washing machines; painting a room; fixing a
leaking tap; garden tools; growing tomatoes; pruning roses; house plants; composting; lawn care; bird watching;
training a puppy; cat behaviour; aquarium fish; horse riding; beekeeping; farm animals; wildlife photography;
portrait photography; film cameras; video editing; playing the guitar; piano lessons; jazz history; hip hop lyrics;
classical concerts; music streaming; making playlists; podcasts; stand-up comedy; telling jokes; board games; chess
openings; card games; video games; puzzle design; crossword clues; science fiction novels; poetry; fairy tales;
short stories; screenplays; movie reviews; television series; theatre plays; ballet; street art; oil painting;
pottery; knitting; sewing a dress; fashion trends; shoe sizes; hair care; skin care; perfume; running a marathon;
swimming; yoga; weight training; football; basketball; tennis; cricket; baseball statistics; winter sports; hiking
boots; climbing; sleep habits; healthy breakfasts; vitamins; headaches; allergies; visiting a dentist; first aid;
vaccination; blood pressure; physical therapy; hospital visits; mental health; meditation; stress at work;
friendship; wedding plans; birthday parties; baby names; parenting; school lunches; homework; university
applications; student loans; scholarships; exam preparation; algebra; geometry; probability; calculus; statistics;
physics experiments; chemistry lessons; the periodic table; cell biology; genetics; evolution; dinosaurs;
astronomy; black holes; space travel; satellites; volcanoes; earthquakes; oceans; rivers; climate change; renewable
energy; recycling; weather forecasts; storms; maps; world capitals; ancient Rome; ancient Egypt; the Middle Ages;
the Renaissance; the French Revolution; the Second World War; the Cold War; constitutional law; human rights;
elections; local government; party politics; immigration; diplomacy; trade agreements; religion; church history;
Buddhist philosophy; ethics; logic; psychology; sociology; anthropology; linguistics; Python programming;
JavaScript frameworks; SQL queries; sorting algorithms; unit tests; code reviews; version control; regular
expressions; web design; mobile apps; cloud servers; network routers; passwords; phishing mails; data backups;
privacy settings; encryption; spreadsheets; slide presentations; databases; machine learning; chatbots; robots;
computer chips; 3D printing; virtual reality; drones; headphones; smartphones; phone contracts; text messages;
alarms and timers; calendars; shopping lists; to-do lists; online orders; returning a parcel; customer support;
product reviews; marketing campaigns; social media; search engines; starting a company; business plans; supply
chains; warehouse management; factory machines; construction sites; bridges; architecture; interior design;
furniture; real estate; renting a flat; neighbours; moving house; mail delivery; police work; court hearings;
contracts; patents; copyright; consumer rights; labour unions; pensions; nursing; medicine prices; medical
research; pharmacies; surgery; nutrition labels; fasting; alcohol-free drinks; smoking bans; gun laws; prisons;
crime novels; fire safety; emergency numbers; air travel rules; ship building; railways; museums; libraries;
newspapers; journalism; interviews; fact checking; charity work; volunteering; animal shelters; forests; national
parks; fishing; hunting seasons; mining; oil prices; steel; textiles; coins; stamps; antiques; genealogy; family
history; horoscopes; dreams; magic tricks; circus; carnival; Christmas; Ramadan; Chinese New Year; Thanksgiving
dinners; Halloween costumes
"""

SINGLE = """
hello there | good morning | thanks a lot | thank you, that helped | yes | no | maybe later | i am not sure | okay,
go on | please repeat that | what did you say | say it again slowly | stop | cancel that | never mind | start over
| what can you do | who are you | what is your name | are you a person | how old are you | where do you come from |
do you like music | talk louder | lower the volume | change your voice | speak German from now on | call me Captain
| sure, here is an example | I cannot help with that | let me think about it | sounds good to me | see you tomorrow
| goodbye | that is funny | i disagree | you are wrong | please be brief | answer in one word | make it shorter |
make it more formal | fix the grammar in this text | rewrite this in a friendly tone | continue the story | what is
17 times 23 | what is 15 percent of 80 | convert 10 miles to kilometres | how many grams are in an ounce | what is
the square root of 144 | roll two dice | flip a coin | pick a number from 1 to 10 | what day is it | what time is
it in Tokyo | set a timer for ten minutes | wake me at seven | remind me to call home | will it rain tomorrow | how
cold is it outside | turn off the lights | play the next song | who sings this | add milk to the list | what is on
my calendar | where is the nearest station | how far is it to the airport | is the shop still open | how late is it
open | where did I put my keys | find my phone | call a taxi | the meeting starts at nine | the report is due on
Friday | he left the office early | she bought a red bicycle | they moved to the coast | it was a quiet evening |
the results are in the table below | the function returns a list of numbers | the file could not be opened | the
test failed on the second run | the server is running again | Write a function that reverses a string. | Why does
my loop never end? | Explain this stack trace. | Convert this JSON to YAML. | What does this error mean? | Write a
haiku about autumn. | Write a limerick about a lazy cat. | Tell me a story about a dragon who is afraid of fire. |
Describe a sunset over the sea. | Name the planets in order. | Who wrote Hamlet? | When was the printing press
invented? | What is the capital of Australia? | How tall is Mount Everest? | What does the word serendipity mean? |
How do you spell necessary? | What is a synonym of happy? | How do you say goodbye in Italian? | Is this sentence
correct? | I feel tired today. | I had a great weekend. | I am looking for a gift for my mother. | My brother lives
abroad. | We are expecting guests tonight. | Our plan has three parts. | The first step is to collect the data. |
In conclusion, more work is needed. | The following points are important. | As an assistant I try to be useful. |
Once upon a time there was a small village by a river. | The old clock struck twelve. | A stranger knocked at the
door. | Nobody knew what had happened. | The rain did not stop for days. | What is the meaning of life? | Why is
the sky blue? | How do magnets work? | What makes bread rise? | Why do leaves change colour? | How do planes stay
in the air? | classify this sentence as positive or negative | extract the dates from the text | give me the key
words of this article | put these names in order | count the words in this line | how many people live in Brazil |
how long does it take to get there | how do i reset my password | why is my screen black | my internet is slow |
the battery is almost empty | which size should I take | do you have this in blue | where is my order | i want my
money back | can I pay by card | is there a discount | what are your opening hours | what are the side effects |
who should I ask | what documents do I need | how do i fill in this form | what happens if I am late | can I bring
a guest | is it safe to eat this
"""


def texts() -> list[str]:
    """Every text of the pool, in a fixed order."""
    subjects = [part.strip() for part in SUBJECTS.replace("\n", " ").split(";")]
    made = [
        FRAMES[(place * 7 + turn * 11) % len(FRAMES)].format(subject)
        for place, subject in enumerate(subjects)
        for turn in range(PER_SUBJECT)
    ]
    single = [part.strip() for part in SINGLE.replace("\n", " ").split("|")]
    return [*made, *(part for part in single if part)]


def metric(vectors: NDArray[np.float32], domains: list[str], *, pull: float = 3.0) -> NDArray[np.float32]:
    """The symmetric map that evens out the spread within a domain. `pull` in units of the mean variance."""
    groups = [vectors[[place for place, one in enumerate(domains) if one == domain]] for domain in sorted(set(domains))]
    within = np.vstack([group - group.mean(axis=0) for group in groups])
    variances, axes = np.linalg.eigh(np.cov(within.T))
    return ((axes / np.sqrt(variances + pull * variances.mean())) @ axes.T).astype(np.float32)


def main() -> None:
    """Embed the pool, learn the metric, and write both beside the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder: Path = parser.parse_args().data
    embedder = Embedder()
    pool = texts()
    rows = [row for row in read_rows(folder, "topic_clinc150_train") if row["domain"] != "oos"]
    learnt = metric(embedder.embed([row["text"] for row in rows]), [row["domain"] for row in rows])
    np.savez_compressed(
        TARGET,
        embeddings=embedder.embed(pool).astype(np.float16),
        metric=(learnt / np.abs(learnt).max())[np.triu_indices(len(learnt))].astype(np.float16),
        texts=np.frombuffer("\n".join(pool).encode(), dtype=np.uint8),
    )
    print(f"{len(pool)} texts, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
