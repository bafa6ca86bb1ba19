package slack_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/sink/sinktest"
	"github.com/conclave-llm/conclave/plugins/builtin/slack"
)

func TestSlack(t *testing.T) {
	t.Parallel()
	s := sinktest.NewServer(t, "ok")
	c := &slack.Slack{}
	sinktest.Configure(t, c, map[string]any{"webhook_url": s.URL + "/services/T/B/secret"})
	records := sinktest.Records(60)
	records[1].Message = "<!everyone> & `x`"
	sinktest.Deliver(t, c, records)
	got := s.Take()
	if len(got) != 1 {
		t.Fatalf("%d messages, want one", len(got))
	}
	var m struct{ Text string }
	got[0].JSON(t, &m)
	if !strings.HasPrefix(m.Text, "*30 requests* at node_a\n") || !strings.HasSuffix(m.Text, "… and 20 more") || strings.Count(m.Text, "\n") != 11 {
		t.Errorf("got %q", m.Text)
	}
	if !strings.Contains(m.Text, "&lt;!everyone&gt; &amp; 'x'") || !strings.Contains(m.Text, "(research/notebook) req-2") {
		t.Errorf("got %q", m.Text)
	}
	sinktest.Deliver(t, c, records[:1]) // a success
	if got := s.Take(); len(got) != 0 {
		t.Errorf("told of a success: %+v", got)
	}
	s.Answer(func(*sinktest.Request) (int, string) { return http.StatusForbidden, "invalid_token" })
	n, err := c.Deliver(t.Context(), records)
	if n != 0 || err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("delivered %d, %v", n, err)
	}
	if err := sinktest.Try(&slack.Slack{}, map[string]any{}); err == nil {
		t.Error("no URL is taken")
	}
}
