"""A LangGraph application whose checkpoints are steps of Bedrock sessions: `BedrockSessionSaver` as it is installed.

Two threads stop at an interrupt; then the gateway is killed and started again (whoever runs this does so when `restart`
is printed, and says so by a line on the standard input), and both go on where they were.
"""

from __future__ import annotations

import operator
import sys
from typing import Annotated, Any, TypedDict

import boto3
from botocore.config import Config
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from langgraph_checkpoint_aws import BedrockSessionSaver
from steps import URL, check, model

OPTIONS: dict[str, Any] = {"endpoint_url": URL, "region_name": "eu-central-1"}
runtime = boto3.client("bedrock-runtime", **OPTIONS)
sessions = boto3.client("bedrock-agent-runtime", **OPTIONS, config=Config(retries={"total_max_attempts": 1}))


class State(TypedDict):
    """`log` grows with every node."""

    question: str
    log: Annotated[list[str], operator.add]


def ask(state: State) -> dict[str, Any]:
    answer = runtime.converse(modelId=model(), messages=[{"role": "user", "content": [{"text": state["question"]}]}])
    return {"log": [answer["output"]["message"]["content"][0]["text"]]}


def approve(state: State) -> dict[str, Any]:
    return {"log": [f"approved by {interrupt({'draft': state['log'][-1]})}"]}


def finish(_: State) -> dict[str, Any]:
    return {"log": ["done"]}


def compiled() -> Any:
    """The graph, with a new checkpointer that knows nothing yet."""
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("approve", approve)
    builder.add_node("finish", finish)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "approve")
    builder.add_edge("approve", "finish")
    builder.add_edge("finish", END)
    return builder.compile(checkpointer=BedrockSessionSaver(**OPTIONS))


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


names = [sessions.create_session(sessionMetadata={"thread": str(number)})["sessionId"] for number in range(2)]
graph = compiled()
check(graph.get_state(thread(names[0])).values == {}, "nothing is known of a new thread")
for number, name in enumerate(names):
    state = graph.invoke({"question": f"question {number}", "log": []}, thread(name))
    [stop] = state["__interrupt__"]
    check(stop.value == {"draft": f"question {number}"}, f"interrupted {number}", stop.value)
before = [len(list(graph.get_state_history(thread(name)))) for name in names]
check(min(before) >= 3, "history", before)

print("restart", flush=True)
check(sys.stdin.readline().strip() == "restarted", "restarted")

graph = compiled()
for number, name in enumerate(names):
    state = graph.get_state(thread(name))
    check(state.next == ("approve",), f"still waiting {number}", state.next)
    check(state.values["log"] == [f"question {number}"], f"its own values {number}", state.values)
    check(len(list(graph.get_state_history(thread(name)))) == before[number], f"its own history {number}")
end = [graph.invoke(Command(resume=person), thread(name)) for name, person in zip(names, ["a", "b"], strict=True)]
for number, (state, person) in enumerate(zip(end, ["a", "b"], strict=True)):
    wanted = [f"question {number}", f"approved by {person}", "done"]
    check(state["log"] == wanted, f"resumed {number}", state["log"])

history = list(graph.get_state_history(thread(names[0])))
times = [each.created_at for each in history]
check(times == sorted(times, reverse=True) and len(history) > before[0], "newest first", len(history))
# Only read: what the saver keeps of two writes to one checkpoint depends on which of its threads was first.
earlier = graph.get_state(next(each for each in history if each.next == ("approve",)).config)
check(earlier.values["log"] == ["question 0"], "an earlier checkpoint", earlier.values)

for name in names:
    steps = sessions.get_paginator("list_invocation_steps").paginate(sessionIdentifier=name)
    found = list(steps.search("invocationStepSummaries"))
    check(len(found) > 4, "its steps", len(found))
    sessions.end_session(sessionIdentifier=name)
    sessions.delete_session(sessionIdentifier=name)
check(compiled().get_state(thread(names[0])).values == {}, "nothing is known of a deleted thread")
print("langgraph job: passed")
