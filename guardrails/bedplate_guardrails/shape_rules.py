"""Rules about the shape of a call: answer schemas, tools, sizes. `OwnConfig` says what they are."""

from __future__ import annotations

from bedplate_core.assessment import Detection, PolicyKind
from bedplate_core.requests import Request
from bedplate_core.verdicts import Side
from bedplate_guardrails.answer_schema import AnswerSchema
from bedplate_guardrails.config import RuleAction
from bedplate_guardrails.document import GuardrailDocument
from bedplate_guardrails.tally import ACTIONS, Tally
from bedplate_guardrails.walk import Walk

OFF_LIST = "allowedTools"
"""How verdicts name the rule that a tool broke which is not on the list: the tool's own name is the caller's, or the
model's, and verdicts hold no content."""


class ShapeRules:
    """The compiled rules of one side. Immutable; false when there are none.

    Raises `InvalidPolicy` for a schema that is none.
    """

    __slots__ = (
        "_allowed", "_answer", "_answer_action", "_any", "_arguments", "_max_arguments", "_max_chars", "_tool_action",
        "judges_whole_answer", "max_answer_chars",
    )  # fmt: skip

    def __init__(self, document: GuardrailDocument, side: Side) -> None:
        own = document.bedplate_config
        answer, tools, sizes = own.answer_schema_config, own.tool_policy_config, own.size_policy_config
        where = "bedplateConfig."
        self._answer = None if answer is None else AnswerSchema(answer.schema, f"{where}answerSchemaConfig.schema")
        self._answer_action = RuleAction.BLOCK if answer is None else answer.action
        self._allowed = None if tools is None or tools.allowed_tools is None else frozenset(tools.allowed_tools)
        self._arguments = {
            name: AnswerSchema(schema, f"{where}toolPolicyConfig.argumentSchemas.{name}")
            for name, schema in (tools.argument_schemas.items() if tools else ())
        }
        self._tool_action = RuleAction.BLOCK if tools is None else tools.action
        self._max_chars = None if sizes is None else sizes.max_input_characters
        self._max_arguments = None if sizes is None else sizes.max_argument_characters
        self.max_answer_chars = None if sizes is None or side is Side.INPUT else sizes.max_output_characters
        """The most characters of a choice, None for no limit."""
        self.judges_whole_answer = side is Side.OUTPUT and answer is not None
        """Whether an answer's text can only be judged when it is whole."""
        if side is Side.INPUT:
            self._any = self._allowed is not None or self._max_chars is not None
        else:
            self._any = bool(answer or tools or self._max_arguments or self.max_answer_chars)

    def __bool__(self) -> bool:
        return self._any

    def check_request(self, request: Request, tally: Tally) -> bool:
        """Whether a request is blocked: it offers a tool that is not allowed, or is too long.

        Its length is that of every text in it that a model sees, tools and their schemas among them. Raises
        `UnsupportedFeature` for a text document that cannot be decoded.
        """
        blocked = False
        for tool in request.tools:
            if self._allowed is not None and tool.name not in self._allowed:
                match = tool.name if tally.keeps_matches else ""
                blocked = self._tool(tally, OFF_LIST, "the tool is not on the list", match) or blocked
        if self._max_chars is not None:
            counter = _Counter()
            counter.request(request)
            if counter.chars > self._max_chars:
                self._size(tally, "maxInputCharacters")
                blocked = True
        return blocked

    def refuses_call(self, name: str, arguments: str, tally: Tally) -> bool:
        """Whether a tool call of an answer is blocked, by what the model wrote, before anything in it is masked."""
        if self._max_arguments is not None and len(arguments) > self._max_arguments:
            self._size(tally, "maxArgumentCharacters")
            return True
        if self._allowed is not None and name not in self._allowed:
            return self._tool(tally, OFF_LIST, "the tool is not on the list")
        schema = self._arguments.get(name)
        if schema is not None and not schema.fits(arguments):
            return self._tool(tally, name, "the arguments are not JSON that the schema allows")
        return False

    def refuses_answer(self, text: str, tally: Tally) -> bool:
        """Whether the whole text of an answer is blocked."""
        if self._answer is None or self._answer.fits(text):
            return False
        tally.detect(
            Detection(
                kind=PolicyKind.SCHEMA,
                name="answerSchemaConfig",
                action=ACTIONS[self._answer_action],
                reason="the answer is not JSON that the schema allows",
            )
        )
        return self._answer_action is RuleAction.BLOCK

    def over_size(self, tally: Tally) -> None:
        """Count an answer that reached its limit."""
        self._size(tally, "maxOutputCharacters")

    def _tool(self, tally: Tally, name: str, reason: str, match: str = "") -> bool:
        action = ACTIONS[self._tool_action]
        tally.detect(Detection(kind=PolicyKind.TOOL, name=name, action=action, reason=reason, match=match))
        return self._tool_action is RuleAction.BLOCK

    def _size(self, tally: Tally, name: str) -> None:
        tally.detect(Detection(kind=PolicyKind.SIZE, name=name, action=ACTIONS[RuleAction.BLOCK]))


class _Counter(Walk):
    """Counts the characters of every text in a request."""

    def __init__(self) -> None:
        super().__init__()
        self.chars = 0

    def text(self, text: str) -> str:
        self.chars += len(text)
        return text

    def name(self, name: str) -> None:
        self.chars += len(name)


__all__ = ["OFF_LIST", "ShapeRules"]
