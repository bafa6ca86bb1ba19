package resource_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/resource"
)

func TestParseAudit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		value string
		want  resource.AuditSettings
		field string // that is wrong
	}{
		{"nothing", `{}`, resource.AuditSettings{}, ""},
		{"days", `{"retention":"365d"}`, resource.AuditSettings{Retention: 365 * 24 * time.Hour}, ""},
		{"for ever", `{"retention":"forever"}`, resource.AuditSettings{}, ""},
		{"hours", `{"retention":"36h"}`, resource.AuditSettings{Retention: 36 * time.Hour}, ""},
		{
			"sinks", `{"sinks":[{"kind":"file","path":"a.jsonl"},{"name":"siem","kind":"syslog","address":"tls://h"},{"kind":"callback","callback":"c"}]}`,
			resource.AuditSettings{Sinks: []resource.AuditSink{
				{Name: "file", Kind: "file", Path: "a.jsonl"}, {Name: "siem", Kind: "syslog", Address: "tls://h"}, {Name: "callback", Kind: "callback", Callback: "c"},
			}},
			"",
		},
		{"too short", `{"retention":"5m"}`, resource.AuditSettings{}, "retention"},
		{"too long", `{"retention":"999999999d"}`, resource.AuditSettings{}, "retention"},
		{"no duration", `{"retention":"often"}`, resource.AuditSettings{}, "retention"},
		{"unknown member", `{"keep":"5d"}`, resource.AuditSettings{}, "keep"},
		{"no object", `5`, resource.AuditSettings{}, "value"},
		{"unknown kind", `{"sinks":[{"kind":"mail"}]}`, resource.AuditSettings{}, "sinks[0].kind"},
		{"no path", `{"sinks":[{"kind":"file"}]}`, resource.AuditSettings{}, "sinks[0].path"},
		{"no address", `{"sinks":[{"kind":"syslog"}]}`, resource.AuditSettings{}, "sinks[0].address"},
		{"not of the kind", `{"sinks":[{"kind":"file","path":"x","address":"udp://h"}]}`, resource.AuditSettings{}, "sinks[0].address"},
		{"wrong scheme", `{"sinks":[{"kind":"syslog","address":"http://h"}]}`, resource.AuditSettings{}, "sinks[0].address"},
		{"relative socket", `{"sinks":[{"kind":"syslog","address":"unix://dev/log"}]}`, resource.AuditSettings{}, "sinks[0].address"},
		{"facility", `{"sinks":[{"kind":"syslog","address":"udp://h","facility":"x"}]}`, resource.AuditSettings{}, "sinks[0].facility"},
		{"twice", `{"sinks":[{"kind":"file","path":"x"},{"kind":"file","path":"y"}]}`, resource.AuditSettings{}, "sinks[1].name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := resource.ParseAudit(json.RawMessage(tt.value))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("settings differ (-want +got):\n%s", d)
			}
			in, _ := errors.AsType[*resource.Invalid](err)
			if (tt.field == "") != (err == nil) || (in != nil && in.Field != tt.field) {
				t.Errorf("got %v, want field %q", err, tt.field)
			}
		})
	}
}

func TestAuditSink_Dial(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, network, want string }{
		{"tcp://10.0.0.1", "tcp", "10.0.0.1:601"},
		{"udp://[::1]", "udp", "[::1]:514"},
		{"tls://h:99", "tls", "h:99"},
		{"unix:///dev/log", "unix", "/dev/log"},
	} {
		network, address, err := (&resource.AuditSink{Address: tt.address}).Dial()
		if err != nil || network != tt.network || address != tt.want {
			t.Errorf("%s: got %s %s (%v), want %s %s", tt.address, network, address, err, tt.network, tt.want)
		}
	}
}
