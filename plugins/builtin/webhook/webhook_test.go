package webhook_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/payload"
	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/builtin/webhook"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource"
)

func ok(*sinktest.Request) (int, string) { return http.StatusNoContent, "" }

func TestWebhook(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	sinktest.Behaves(t, func() sdk.Callback { return &webhook.Webhook{} }, s, sinktest.Config{
		Value: map[string]any{"url": s.URL + "/in?token=hidden", "secret": "s3cret"}, Secrets: []string{"hidden", "s3cret"},
	}, ok)
}

func TestWebhook_formats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		format   string
		gzip     bool
		requests int
	}{{"json_array", false, 2}, {"json_array", true, 2}, {"ndjson", false, 2}, {"single", false, 5}} {
		t.Run(tt.format, func(t *testing.T) {
			t.Parallel()
			s := sinktest.NewServer(t, "")
			w := &webhook.Webhook{}
			sinktest.Configure(t, w, map[string]any{
				"url": s.URL + "/in", "format": tt.format, "batch": 3, "gzip": tt.gzip, "secret": "k", "headers": map[string]string{"Authorization": "Bearer x"},
			})
			deliver := sinktest.Deliver
			if tt.format == "single" {
				deliver = sinktest.DeliverEach
			}
			deliver(t, w, sinktest.Telling(sinktest.Records(5)))
			got := s.Take()
			if len(got) != tt.requests {
				t.Fatalf("%d requests, want %d", len(got), tt.requests)
			}
			first := got[0]
			if !webhook.Verify("k", first.Header.Get(webhook.SignatureHeader), first.Raw, time.Now(), time.Minute) {
				t.Error("the signature is not that of the bytes that came")
			}
			if webhook.Verify("other", first.Header.Get(webhook.SignatureHeader), first.Raw, time.Now(), time.Minute) ||
				webhook.Verify("k", first.Header.Get(webhook.SignatureHeader), first.Raw, time.Now().Add(time.Hour), time.Minute) {
				t.Error("a wrong key or an old signature is taken")
			}
			if first.Header.Get("Authorization") != "Bearer x" || first.Header.Get(webhook.DeliveryHeader) == "" {
				t.Errorf("headers %v", first.Header)
			}
			var p payload.Payload
			switch tt.format {
			case "ndjson":
				if lines := first.Lines(); len(lines) != 3 {
					t.Errorf("%d lines, want 3", len(lines))
				}
				return
			case "single":
				first.JSON(t, &p)
			default:
				var list []payload.Payload
				first.JSON(t, &list)
				p = list[0]
			}
			if p.Version != 1 || p.Total != 125 || p.Cost == nil || *p.Cost != 0.00125 || p.Messages == nil || p.Metadata.TeamAlias != "research" {
				t.Errorf("payload %+v", p)
			}
		})
	}
}

func TestWebhook_audit(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "")
	w := &webhook.Webhook{}
	sinktest.Configure(t, w, map[string]any{"url": s.URL})
	n, err := w.DeliverAudit(t.Context(), []sdk.AuditEntry{{Number: 7, Action: "put"}, {Number: 8}})
	if n != 2 || err != nil {
		t.Fatalf("delivered %d, %v", n, err)
	}
	var list []struct{ Audit resource.AuditEntry }
	s.Take()[0].JSON(t, &list)
	if len(list) != 2 || list[0].Audit.Number != 7 || list[1].Audit.Number != 8 {
		t.Errorf("got %+v", list)
	}
}

func TestWebhook_refuses(t *testing.T) {
	t.Parallel()
	for _, config := range []map[string]any{
		{},
		{"url": "ftp://x"},
		{"url": "https://x", "format": "xml"},
		{"url": "https://x", "batch": 0},
		{"url": "https://x", "ca": "no"},
		{"url": "https://x", "proxy": "x"},
		{"url": "https://x", "timeout_ms": -1},
	} {
		if err := sinktest.Try(&webhook.Webhook{}, config); err == nil {
			t.Errorf("%v is taken", config)
		}
	}
}
