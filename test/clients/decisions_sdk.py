"""Unchanged clients of decisions, OpenAI's and TypeSafe's, against one node.

Usage: KEY=… POOR_KEY=… python decisions_sdk.py URL
"""

import os
import sys

import openai
from typesafe_sdk import Choice, Noul, Score, TypeSafeAPIError, TypeSafeClient

URL = sys.argv[1]
STATE = "I was charged twice for my subscription. Please refund me today."


def theirs(key):
    return openai.OpenAI(base_url=URL + "/v1", api_key=key, max_retries=0)


def typesafe(key):
    return TypeSafeClient(api_key=key, base_url=URL)


# OpenAI's client.
got = theirs(os.environ["KEY"]).decisions.create(
    model="demo",
    input=STATE,
    questions=[
        {"type": "predicate", "name": "billing", "instructions": "The customer was charged."},
        {"type": "choice", "instructions": "Which team?", "choices": [{"value": "sales"}, {"value": "refunds", "description": "refund, charged"}]},
        {"type": "score", "name": "urgency", "instructions": "How urgent?", "levels": [{"label": "can wait"}, {"label": "today"}]},
    ],
)
billing, team, urgency = got.answers
assert (billing.type, billing.name) == ("predicate", "billing") and billing.probability > 0.5, billing
assert (team.type, team.name, team.choice) == ("choice", None, "refunds"), team
assert abs(sum(p.probability for p in team.probabilities) - 1) < 1e-6, team
assert (urgency.type, urgency.score) == ("score", 1) and urgency.probabilities[1].label == "today", urgency
assert got.usage.total_tokens == got.usage.input_tokens + got.usage.output_tokens > 0, got.usage

# TypeSafe's client.
with typesafe(os.environ["KEY"]) as client:
    got = client.system_one(
        model="demo",
        state={"message": STATE, "history": ["We have been customers for years."] * 100},  # large enough that the client compresses it
        questions={
            "billing": Noul(instructions="The customer was charged."),
            "team": Choice(instructions="Which team?", criteria={"sales": None, "refunds": "refund, charged"}),
            "urgency": Score(instructions="How urgent?", criteria=["can wait", "today"]),
        },
    )
    assert got.nouls["billing"].noul > 0.5, got
    assert got.choices["team"].choice == "refunds" and got.choices["team"].confidence > 0.5, got
    assert got.scores["urgency"].score == 1 and got.scores["urgency"].legend[1] == "today", got
    assert got.usage.input_tokens > 0, got

# A budget that is spent, and a model that is not there, are errors that both understand.
try:
    theirs(os.environ["POOR_KEY"]).decisions.create(model="demo", input="a", questions=[{"type": "predicate", "instructions": "b"}])
    raise AssertionError("a spent budget paid")
except openai.RateLimitError as e:
    assert e.code == "budget_exceeded", e
for key, model, status in ((os.environ["POOR_KEY"], "demo", 429), (os.environ["KEY"], "nobody", 404), ("sk-unknown", "demo", 401)):
    try:
        with typesafe(key) as client:
            client.system_one("a", {"b": Noul(instructions="c")}, model=model)
        raise AssertionError(f"{model} answered")
    except TypeSafeAPIError as e:
        assert e.status == status, e
print("ok")
