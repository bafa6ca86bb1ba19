"""LiteLLM's own management client, unchanged, against one node.

Usage: MASTER_KEY=… MOCK_URL=… python litellm_client.py BASE_URL
"""

import functools
import inspect
import os
import sys
import uuid

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched from the internet

import requests
from litellm.proxy.client import Client, HealthManagementClient, UnauthorizedError, UsersManagementClient
from litellm.proxy.client.exceptions import NotFoundError

BASE, MOCK = sys.argv[1], os.environ["MOCK_URL"]
DEPLOYMENT, BUDGET = uuid.uuid4().hex, uuid.uuid4().hex  # an id is never used twice
client = Client(base_url=BASE, api_key=os.environ["MASTER_KEY"])
users = UsersManagementClient(BASE, os.environ["MASTER_KEY"])
health = HealthManagementClient(BASE, os.environ["MASTER_KEY"])
unused = set()  # operations of the library that were not called


def watch(kind):
    """Note of each public operation of a class whether it was called."""
    for name, plain in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_"):
            continue
        unused.add(f"{kind.__name__}.{name}")

        @functools.wraps(plain)
        def noted(*args, _name=f"{kind.__name__}.{name}", _plain=plain, **named):
            unused.discard(_name)
            return _plain(*args, **named)

        setattr(kind, name, noted)


for part in [*vars(client).values(), users, health]:
    if type(part).__module__.startswith("litellm."):
        watch(type(part))


def refused(kind, call):
    """Return the error of the given class that call raises."""
    try:
        call()
    except kind as err:
        return err
    raise AssertionError(f"want {kind.__name__}, got an answer")


def has(row, **want):
    """Fail unless each of the row's fields has the value."""
    for name, value in want.items():
        assert name in row, f"{name} is missing in {sorted(row)}"
        assert row[name] == value, f"{name}: got {row[name]!r}, want {value!r}"


def call(method, path, **body):
    return client.http.request(method, path, json=body)


# models
params = {"model": "openai/demo", "api_base": MOCK + "/v1", "api_key": "sk-upstream", "rpm": 60000,
          "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
made = client.models.new("via-litellm", params, {"id": DEPLOYMENT, "mode": "chat"})
has(made, model_name="via-litellm", model_id=DEPLOYMENT, blocked=False)
for field in ("litellm_params", "model_info", "created_at", "created_by", "updated_at", "updated_by"):
    assert field in made, field
assert "sk-upstream" not in str(made), made
row = client.models.get(model_id=DEPLOYMENT)
has(row, model_name="via-litellm")
has(row["model_info"], id=DEPLOYMENT, db_model=True, mode="chat", litellm_provider="openai",
    input_cost_per_token=1e-06, output_cost_per_token=2e-06)
has(row["litellm_params"], model="openai/demo", api_base=MOCK + "/v1", rpm=60000, custom_llm_provider="openai")
assert client.models.get(model_name="via-litellm")["model_info"]["id"] == DEPLOYMENT
updated = client.models.update(DEPLOYMENT, {"rpm": 50000}, {"tier": "paid"})
has(updated["litellm_params"], rpm=50000, model="openai/demo")
has(updated["model_info"], tier="paid", mode="chat", id=DEPLOYMENT)
assert "via-litellm" in [m["id"] for m in client.models.list()]
groups = {g["model_group"]: g for g in client.model_groups.info()}
has(groups["via-litellm"], providers=["openai"], mode="chat", rpm=50000)
refused(NotFoundError, lambda: client.models.delete("litellm-nothing"))
refused(NotFoundError, lambda: client.models.update("litellm-nothing", {"model": "openai/x"}))
refused(NotFoundError, lambda: client.models.get(model_id="litellm-nothing"))

# teams
team = call("POST", "/team/new", team_alias="science", models=["via-litellm"], max_budget=50.0, budget_duration="30d",
            tpm_limit=100000, metadata={"cost_center": "7"})
has(team, team_alias="science", models=["via-litellm"], max_budget=50.0, budget_duration="30d", tpm_limit=100000,
    rpm_limit=None, blocked=False, spend=0.0, metadata={"cost_center": "7"}, members_with_roles=[])
assert team["team_id"] and team["budget_reset_at"] and team["created_at"]
assert team["team_id"] in [t["team_id"] for t in client.teams.list()]
has(client.teams.list_v2(page=1, page_size=100), page=1, total_pages=1)
info = call("GET", "/team/info?team_id=" + team["team_id"])
has(info, team_id=team["team_id"], keys=[], team_memberships=[])
has(info["team_info"], team_alias="science")
has(call("POST", "/team/update", team_id=team["team_id"], max_budget=60.0)["data"], max_budget=60.0, budget_duration="30d")

# users
user = users.create_user({"user_email": "ada@example.com", "user_alias": "Ada", "user_role": "internal_user",
                                 "max_budget": 5.0, "auto_create_key": False})
has(user, user_email="ada@example.com", user_alias="Ada", user_role="internal_user", max_budget=5.0)
uid = user["user_id"]
has(users.get_user(uid), user_id=uid, keys=[])
has(users.get_user_v2(uid), user_id=uid, user_email="ada@example.com", spend=0.0)
assert uid in [u["user_id"] for u in users.list_users()]
refused(NotFoundError, lambda: users.get_user("nobody-of-that-name"))

# keys
key = client.keys.generate(models=["via-litellm"], duration="24h", key_alias="notebook", team_id=team["team_id"], user_id=uid)
has(key, key_alias="notebook", models=["via-litellm"], team_id=team["team_id"], user_id=uid, spend=0.0, blocked=False,
    max_budget=None, tpm_limit=None, rpm_limit=None, max_parallel_requests=None, budget_duration=None, metadata={})
for field in ("key", "token", "token_id", "key_name", "expires", "created_at", "created_by", "updated_at", "updated_by"):
    assert key.get(field), f"{field} is missing"
assert key["key"].startswith("sk-") and key["key_name"] == "sk-..." + key["key"][-4:], key
assert key["token"] == key["token_id"] and len(key["token"]) == 64
for ref in (key["key"], key["token"]):
    found = client.keys.info(ref)
    has(found, key=key["token"])
    has(found["info"], key_alias="notebook", status="active", team_id=team["team_id"])
    assert "token" not in found["info"], found
has(client.keys.update(key["key"], models=[], key_alias="notebook-2"), key=key["token"], models=[], key_alias="notebook-2")
page = client.keys.list(page=1, size=100, team_id=team["team_id"], return_full_object=True)
has(page, total_count=1, current_page=1, total_pages=1)
has(page["keys"][0], token=key["token"], key_alias="notebook-2")
assert client.keys.list(key_alias="notebook-2")["keys"] == [key["token"]]
bulk = call("POST", "/key/bulk_update", keys=[{"key": key["token"], "max_budget": 3.0}, {"key": "nothing"}])
has(bulk, total_requested=2)
has(bulk["successful_updates"][0], key=key["token"])
has(bulk["successful_updates"][0]["key_info"], max_budget=3.0)
assert bulk["failed_updates"][0]["key"] == "nothing" and bulk["failed_updates"][0]["failed_reason"]
missing = refused(requests.exceptions.HTTPError, lambda: client.keys.info("0" * 64))
assert missing.response.status_code == 404, missing
has(missing.response.json()["error"], code="404", type="not_found_error")

# the key calls the model, and is charged
mine = Client(base_url=BASE, api_key=key["key"])
answer = mine.chat.completions("via-litellm", [{"role": "user", "content": "hello"}])
assert answer["choices"][0]["message"]["content"] and answer["usage"]["total_tokens"] > 0, answer
chunks = list(mine.chat.completions_stream("via-litellm", [{"role": "user", "content": "hello"}]))
assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]), chunks
refused(UnauthorizedError, lambda: Client(base_url=BASE, api_key="sk-unknown-0123456789").keys.list())

# credentials
has(client.credentials.create("litellm-cred", {"custom_llm_provider": "openai"}, {"api_key": "sk-canary"}), success=True)
listed = client.credentials.list()
assert "litellm-cred" in [c["credential_name"] for c in listed["credentials"]] and "sk-canary" not in str(listed), listed
has(client.credentials.get("litellm-cred"), credential_name="litellm-cred", credential_info={"custom_llm_provider": "openai"})
has(client.credentials.update_display_name("litellm-cred", "The lab's"), success=True)
has(client.credentials.get("litellm-cred"), display_name="The lab's")
has(client.credentials.update_display_name("litellm-cred", None), success=True)
has(client.credentials.get("litellm-cred"), display_name=None, credential_info={"custom_llm_provider": "openai"})
has(client.credentials.delete("litellm-cred"), success=True)
gone = refused(requests.exceptions.HTTPError, lambda: client.credentials.get("litellm-cred"))
assert gone.response.status_code == 404, gone

# budgets
budget = call("POST", "/budget/new", budget_id=BUDGET, max_budget=10.0, budget_duration="1d")
has(budget, budget_id=BUDGET, max_budget=10.0, budget_duration="1d")
has(call("POST", "/budget/info", budgets=[BUDGET])[0], budget_id=BUDGET, max_budget=10.0)
has(call("POST", "/budget/update", budget_id=BUDGET, max_budget=20.0), max_budget=20.0)
assert BUDGET in [b["budget_id"] for b in call("GET", "/budget/list")]
call("POST", "/budget/delete", id=BUDGET)
assert call("POST", "/key/block", key=key["key"])["blocked"] is True
assert call("POST", "/key/unblock", key=key["key"])["blocked"] is False
has(client.keys.delete(keys=[key["token"]]), deleted_keys=[key["token"]])
users.delete_user([uid])
call("POST", "/team/delete", team_ids=[team["team_id"]])
has(client.models.delete(DEPLOYMENT), message=f"Model: {DEPLOYMENT} deleted successfully")
has(health.get_readiness(), status="healthy", db="connected")
health.get_server_version()  # None: a node is no LiteLLM
assert isinstance(client.teams.get_available(), list)
assert not unused, f"not called: {sorted(unused)}"
print("ok")
