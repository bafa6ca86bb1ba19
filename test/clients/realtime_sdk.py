"""The unchanged OpenAI client's WebSockets and background responses against one node.

Usage: KEY=… POOR_KEY=… python realtime_sdk.py BASE_URL
"""

import os
import sys
import time

import openai
from websockets.exceptions import ConnectionClosed, InvalidStatus

BASE = sys.argv[1]


def client(key):
    return openai.OpenAI(base_url=BASE, api_key=key, max_retries=0)


def until(connection, *kinds):
    """Return all events up to the first of one of the types."""
    seen = []
    for event in connection:
        seen.append(event)
        if event.type in kinds:
            return seen
    raise AssertionError(f"the connection ended after {[e.type for e in seen]}")


def talk(connection, text):
    connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )
    connection.response.create()
    return until(connection, "response.done", "error")


mine = client(os.environ["KEY"])

# A session of text.
with mine.realtime.connect(model="demo") as session:
    until(session, "session.created")
    session.session.update(session={"type": "realtime", "output_modalities": ["text"]})
    until(session, "session.updated")
    for text in ("hello there", "and again"):
        events = talk(session, text)
        assert events[-1].type == "response.done", events[-1]
        said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert said == "You said: " + text, said
        done = events[-1].response
        assert done.status == "completed" and done.usage.output_tokens == 4, done

# A session of speech.
with mine.realtime.connect(model="demo") as session:
    events = talk(session, "aloud")
    assert any(e.type == "response.output_audio.delta" and e.delta for e in events), [e.type for e in events]
    assert "".join(e.delta for e in events if e.type == "response.output_audio_transcript.delta") == "You said: aloud"
    assert events[-1].response.usage.output_token_details.audio_tokens > 0, events[-1]

# A secret for a page opens a session, and nothing else.
secret = mine.realtime.client_secrets.create(session={"type": "realtime", "model": "demo"})
assert secret.value.startswith("ek_") and secret.expires_at > time.time(), secret
with client(secret.value).realtime.connect(model="demo") as session:
    assert talk(session, "with a secret")[-1].type == "response.done"
try:
    client(secret.value).models.list()
    raise AssertionError("a secret opens another path")
except openai.AuthenticationError:
    pass

# Refusals.
for key, model, status in ((os.environ["KEY"], "forbidden", 403), ("sk-unknown-0123456789", "demo", 401), (os.environ["POOR_KEY"], "demo", 429)):
    try:
        with client(key).realtime.connect(model=model):
            raise AssertionError(f"a session was opened with {model}")
    except InvalidStatus as err:
        assert err.response.status_code == status, err

# Responses over a WebSocket, one going on from the other.
with mine.responses.connect() as connection:
    connection.response.create(model="demo", input="the first", store=False)
    first = until(connection, "response.completed", "error")[-1]
    assert first.type == "response.completed", first
    connection.response.create(
        model="demo", input="the second", store=False, previous_response_id=first.response.id
    )
    events = until(connection, "response.completed", "error")
    assert events[-1].type == "response.completed", events[-1]
    assert "second" in "".join(e.delta for e in events if e.type == "response.output_text.delta"), events
    connection.response.create(model="demo", input="x", previous_response_id="resp_unknown")
    error = until(connection, "error", "response.completed")[-1]
    assert error.type == "error" and error.error.code == "previous_response_not_found" and error.status == 400, error

# Responses in the background.
made = mine.responses.create(model="demo", input="in the background", background=True)
assert made.status == "queued" and made.background, made
while made.status in ("queued", "in_progress"):
    time.sleep(0.05)
    made = mine.responses.retrieve(made.id)
assert made.status == "completed" and "background" in made.output_text, made
again = mine.responses.cancel(made.id)
assert again.status == "completed", again

stream = mine.responses.create(model="demo", input="one two three", background=True, stream=True)
events = [next(iter(stream)) for _ in range(3)]
ident = events[0].response.id
stream.close()
rest = list(mine.responses.retrieve(ident, stream=True, starting_after=events[-1].sequence_number))
assert rest[0].sequence_number == events[-1].sequence_number + 1 and rest[-1].type == "response.completed", rest

# A budget that ends amid a session ends the session.
try:
    with client(os.environ["SHORT_KEY"]).realtime.connect(model="demo") as session:
        session.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        for _ in range(10_000):
            last = talk(session, "and on")[-1]
            if last.type == "error" and not getattr(last.error, "retry_after", None):
                assert last.error.code == "budget_exceeded", last
                for _ in range(10):  # what the provider has said of the item meanwhile
                    assert session.recv().type.startswith("conversation.item."), "the session goes on"
                raise AssertionError("the session is not closed")
    raise AssertionError("the budget does not end")
except ConnectionClosed as err:
    assert err.rcvd.code == 1008 and err.rcvd.reason == "budget_exceeded", err
