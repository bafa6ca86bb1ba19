package adminapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi"
	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// trying makes a harness whose channels fail if they are called bad.
func trying(t *testing.T, tried *[]string) *adminapitest.Harness {
	return adminapitest.New(t, func(c *adminapi.Config) {
		c.TryAlert = func(_ context.Context, name string) error {
			*tried = append(*tried, name)
			switch name {
			case "bad":
				return errors.New("503")
			case "none":
				return fmt.Errorf("channel: %w", resource.ErrNotFound)
			}
			return nil
		}
	})
}

func asNode(h *adminapitest.Harness, cmd fsm.Command) {
	h.T.Helper()
	if _, err := h.Propose(h.T.Context(), fsm.Actor{Kind: "node", ID: "n1"}, "", cmd); err != nil {
		h.T.Fatal(err)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	var tried []string
	h := trying(t, &tried)
	api := h.Client(adminapitest.MasterKey)
	for i := range 3 {
		h.Advance(1)
		asNode(h, fsm.RaiseAlerts{Alerts: []alert.Alert{{Kind: channel.NodeDown, Subject: fmt.Sprintf("node/n%d", i), Key: fmt.Sprint(i), Lasting: i == 0, Text: "down"}}})
	}
	all, err := api.Alerts(t.Context(), map[string][]string{"limit": {"2"}})
	if err != nil || len(all.Items) != 2 || all.NextCursor == "" || all.Items[0].Subject != "node/n2" || all.Items[0].State != "pending" {
		t.Fatalf("got %+v, %v", all, err)
	}
	rest, err := api.Alerts(t.Context(), map[string][]string{"cursor": {all.NextCursor}})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].Subject != "node/n0" || rest.NextCursor != "" {
		t.Fatalf("the rest: %+v, %v", rest, err)
	}
	id := all.Items[0].ID
	asNode(h, fsm.NoteAlerts{Notes: []fsm.AlertNote{{ID: id, Done: true, Deliveries: []alert.Delivery{{Channel: "ops", State: alert.Dead, Tries: 3, Error: "503"}}}}})
	for query, want := range map[string]int{"state=dead": 1, "state=open": 1, "state=pending": 2, "state=delivered": 0, "kind=node_*": 3, "kind=prices_held": 0, "subject=node/n1": 1} {
		got := h.Must("GET", "/api/v1/alerts?"+query, "")["items"].([]any)
		if len(got) != want {
			t.Errorf("%s: %d alerts, want %d", query, len(got), want)
		}
	}
	if out, err := api.RetryAlerts(t.Context()); err != nil || out.Retried != 1 {
		t.Errorf("RetryAlerts: %+v, %v", out, err)
	}
	if a, err := api.Alert(t.Context(), id); err != nil || a.State != "pending" || a.Deliveries[0].State != alert.Pending {
		t.Errorf("after the retry: %+v, %v", a, err)
	}
	if out, err := api.RetryAlerts(t.Context()); err != nil || out.Retried != 0 {
		t.Errorf("nothing is dead: %+v, %v", out, err)
	}
	if got := h.Call(adminapitest.MasterKey, "POST", "/api/v1/alerts/alrt_x/retry", ""); got.Status != http.StatusNotFound {
		t.Errorf("an unknown one: %d %s", got.Status, got.Body)
	}
	if kinds, err := api.AlertKinds(t.Context()); err != nil || len(kinds.Items) != len(channel.Kinds()) {
		t.Errorf("kinds: %+v, %v", kinds, err)
	}
	for name, want := range map[string]string{"ops": "", "bad": "503"} {
		if out, err := api.TestAlert(t.Context(), name); err != nil || out.Error != want || out.Delivered != (want == "") {
			t.Errorf("TestAlert(%s): %+v, %v", name, out, err)
		}
	}
	if _, err := api.TestAlert(t.Context(), "none"); err == nil {
		t.Error("a channel that is not there was tried")
	}
}

// TestAlerts_Setting refuses what the setting and a budget cannot say, with the field's name.
func TestAlerts_Setting(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	for path, body := range map[string]string{
		"value.channels[0].type":     `{"value":{"channels":[{"name":"a","type":"pager"}]}}`,
		"value.budget_thresholds[0]": `{"value":{"budget_thresholds":[0]}}`,
	} {
		if got := h.Call(adminapitest.MasterKey, "PUT", "/api/v1/settings/alerts", body); got.Status != http.StatusBadRequest || !strings.Contains(string(got.Body), path) {
			t.Errorf("%s: got %d %s", body, got.Status, got.Body)
		}
	}
	if got := h.Call(adminapitest.MasterKey, "POST", "/api/v1/teams", `{"name":"t","budgets":[{"usd":1,"alerts":{"at":[80,0]}}]}`); got.Status != http.StatusBadRequest || !strings.Contains(string(got.Body), "budgets[0].alerts.at[1]") {
		t.Errorf("a budget: got %d %s", got.Status, got.Body)
	}
	h.Must("POST", "/api/v1/teams", `{"name":"t","budgets":[{"usd":1,"alerts":{"at":[80],"channels":["team"],"emails":["a@b.c"]}}]}`)
}

func TestAlerts_LiteLLM(t *testing.T) {
	t.Parallel()
	var tried []string
	h := trying(t, &tried)
	if got := h.Call(adminapitest.MasterKey, "GET", "/health/services?service=slack", ""); got.Status != http.StatusBadRequest {
		t.Errorf("without a channel: %d %s", got.Status, got.Body)
	}
	h.Must("PUT", "/api/v1/settings/alerts", `{"value":{"channels":[
		{"name":"chat","type":"slack","url":"https://c"},{"name":"ops","type":"webhook","url":"https://o","kinds":["budget_*"]},{"name":"bad","type":"email","host":"h:25","from":"a@b.c","to":["d@e.f"]}]}}`)
	if out := h.Must("GET", "/health/services?service=slack_budget_alerts", ""); out["status"] != "success" || strings.Join(tried, " ") != "chat" {
		t.Errorf("got %v, tried %q", out, tried)
	}
	for service, want := range map[string]string{"email": "503", "langfuse": "nor a callback", "": "is missing"} {
		if got := h.Call(adminapitest.MasterKey, "GET", "/health/services?service="+service, ""); got.Status != http.StatusBadRequest || !strings.Contains(string(got.Body), want) {
			t.Errorf("%s: got %d %s", service, got.Status, got.Body)
		}
	}
	got := h.Call(adminapitest.MasterKey, "GET", "/alerting/settings", "")
	if got.Status != http.StatusOK || !strings.Contains(string(got.Body), `"field_name":"alerting"`) || !strings.Contains(string(got.Body), "cooldown_deployment") {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
}
