package channel_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource/channel"
)

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := channel.Parse(json.RawMessage(`{
		"channels": [
			{"name": "ops", "type": "webhook", "url": "https://hooks.example.org/a", "credential": "hook", "kinds": ["node_*"]},
			{"name": "chat", "type": "slack", "url": "http://mattermost.corp:8065"},
			{"name": "mail", "type": "email", "host": "smtp.corp:587", "from": "Conclave <c@corp.example>", "to": ["a@corp.example"], "user": "u", "credential": "smtp"},
			{"name": "siem", "type": "callback", "callback": "otel", "only": true}
		],
		"budget_thresholds": [50, 80, 100], "deadline": "2h", "keep": "7d", "key_expiring": "never", "node_down_after": "30s"
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Deadline != 2*time.Hour || s.Keep != 7*24*time.Hour || s.KeyExpiring != 0 || s.NodeDownAfter != 30*time.Second || s.CooldownAfter != 10*time.Minute {
		t.Errorf("got %+v", s)
	}
	for _, tt := range []struct {
		kind        string
		own, emails []string
		want        []string
	}{
		{channel.NodeDown, nil, nil, []string{"ops", "chat", "mail"}},
		{channel.BudgetThreshold, nil, nil, []string{"chat", "mail"}},
		{channel.BudgetThreshold, []string{"siem"}, []string{"t@corp.example"}, []string{"siem", "t@corp.example"}},
		{channel.BudgetThreshold, nil, []string{"t@corp.example"}, []string{"chat", "mail", "t@corp.example"}},
	} {
		if got := s.For(tt.kind, tt.own, tt.emails); !slices.Equal(got, tt.want) {
			t.Errorf("For(%s, %v, %v) = %v, want %v", tt.kind, tt.own, tt.emails, got, tt.want)
		}
	}
	if s.Mail().Name != "mail" || s.Named("none") != nil {
		t.Error("Mail or Named finds another channel")
	}
}

func TestParse_Refused(t *testing.T) {
	t.Parallel()
	one := func(c string) string { return `{"channels": [` + c + `]}` }
	for _, tt := range []struct{ name, value, field string }{
		{"no object", `[]`, "value"},
		{"unknown key", `{"chanels": []}`, "chanels"},
		{"unknown key of a channel", one(`{"name":"a","type":"slack","url":"https://x","colour":1}`), "channels[0].colour"},
		{"no name", one(`{"type":"slack","url":"https://x"}`), "channels[0].name"},
		{"an address as name", one(`{"name":"a@b","type":"slack","url":"https://x"}`), "channels[0].name"},
		{"name twice", one(`{"name":"a","type":"slack","url":"https://x"},{"name":"a","type":"slack","url":"https://x"}`), "channels[1].name"},
		{"type", one(`{"name":"a","type":"pager"}`), "channels[0].type"},
		{"no url", one(`{"name":"a","type":"webhook"}`), "channels[0].url"},
		{"url", one(`{"name":"a","type":"webhook","url":"ftp://x"}`), "channels[0].url"},
		{"a field of another type", one(`{"name":"a","type":"webhook","url":"https://x","to":["a@b.c"]}`), "channels[0].to"},
		{"kind", one(`{"name":"a","type":"slack","url":"https://x","kinds":["node_dwon"]}`), "channels[0].kinds[0]"},
		{"pattern", one(`{"name":"a","type":"slack","url":"https://x","kinds":["nodes_*"]}`), "channels[0].kinds[0]"},
		{"ca", one(`{"name":"a","type":"slack","url":"https://x","ca":"PEM"}`), "channels[0].ca"},
		{"host", one(`{"name":"a","type":"email","host":"smtp.corp","from":"a@b.c"}`), "channels[0].host"},
		{"tls", one(`{"name":"a","type":"email","host":"smtp.corp:25","from":"a@b.c","tls":"yes"}`), "channels[0].tls"},
		{"from", one(`{"name":"a","type":"email","host":"smtp.corp:25","from":"a"}`), "channels[0].from"},
		{"to", one(`{"name":"a","type":"email","host":"smtp.corp:25","from":"a@b.c","to":["A <a@b.c>"]}`), "channels[0].to[0]"},
		{"a header in to", one(`{"name":"a","type":"email","host":"smtp.corp:25","from":"a@b.c","to":["a@b.c\r\nBcc: x@y.z"]}`), "channels[0].to[0]"},
		{"a user alone", one(`{"name":"a","type":"email","host":"smtp.corp:25","from":"a@b.c","user":"u"}`), "channels[0].user"},
		{"a password in clear", one(`{"name":"a","type":"email","host":"smtp.corp:25","from":"a@b.c","user":"u","credential":"c","tls":"none"}`), "channels[0].tls"},
		{"threshold", `{"budget_thresholds": [0]}`, "budget_thresholds[0]"},
		{"threshold twice", `{"budget_thresholds": [80, 80]}`, "budget_thresholds[1]"},
		{"deadline", `{"deadline": "never"}`, "deadline"},
		{"keep", `{"keep": "99999d"}`, "keep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := channel.Parse(json.RawMessage(tt.value))
			var e *channel.Error
			if !errors.As(err, &e) || e.Field != tt.field {
				t.Errorf("got %v, want an error of %s", err, tt.field)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	all := channel.Kinds()
	if !slices.IsSortedFunc(all, func(a, b channel.Kind) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the kinds are not sorted")
	}
	if got := channel.OfLiteLLM("budget_alerts"); len(got) != 4 || !channel.IsKind(got[0]) {
		t.Errorf("budget_alerts covers %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"channels":[{"name":"a","type":"email","host":"h:25","from":"a@b.c","to":["a@b.c"]}],"budget_thresholds":[80]}`)
	f.Add(`{"deadline":"1h","keep":"1d"}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := channel.Parse(json.RawMessage(text))
		if err != nil {
			return
		}
		for _, c := range s.Channels {
			if s.Named(c.Name) == nil {
				t.Errorf("channel %q cannot be found", c.Name)
			}
		}
	})
}
