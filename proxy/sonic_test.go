package proxy_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

// newSonic is a stand-in of Amazon's Nova Sonic: it answers the first audio with a word, aloud.
func newSonic(t *testing.T) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/invoke-with-bidirectional-stream") || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=sk-provider/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusOK)
		for {
			head := make([]byte, 12)
			if _, err := io.ReadFull(r.Body, head); err != nil {
				return
			}
			rest := make([]byte, binary.BigEndian.Uint32(head)-12)
			if _, err := io.ReadFull(r.Body, rest); err != nil {
				return
			}
			e, err := bedrock.NewReader(bytes.NewReader(rest[binary.BigEndian.Uint32(head[4:]):len(rest)-4]), 0).Next()
			if err != nil {
				return // the end
			}
			message, err := bedrock.Chunk(&e)
			if err != nil || !bytes.Contains(message, []byte(`"audioInput"`)) {
				continue
			}
			for _, said := range []string{
				`{"event":{"contentStart":{"contentId":"2","type":"TEXT","role":"ASSISTANT","additionalModelFields":"{\"generationStage\":\"SPECULATIVE\"}"}}}`,
				`{"event":{"textOutput":{"contentId":"2","content":"Hello."}}}`,
				`{"event":{"contentStart":{"contentId":"3","type":"AUDIO","role":"ASSISTANT"}}}`, `{"event":{"audioOutput":{"contentId":"3","content":"AQID"}}}`,
				`{"event":{"usageEvent":{"details":{"delta":{"input":{"speechTokens":20,"textTokens":7},"output":{"speechTokens":25,"textTokens":5}}}}}}`,
				`{"event":{"contentEnd":{"contentId":"3","type":"AUDIO","stopReason":"END_TURN"}}}`,
			} {
				_, _ = w.Write(bedrock.AppendChunk(nil, []byte(said)))
			}
			_ = http.NewResponseController(w).Flush()
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// TestRealtime_Amazon: a client of OpenAI's sessions talks to Nova Sonic; what it counts is booked.
func TestRealtime_Amazon(t *testing.T) {
	t.Parallel()
	srv := newSonic(t)
	st := newStage(t, mock.Config{}, func(st *stage) {
		st.cfg.Sessions = upstream.New(upstream.Config{TLS: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
		for _, d := range st.tables.Deployments {
			d.Provider, d.APIBase, d.Upstream, d.APIKey = "bedrock", srv.URL, "amazon.nova-2-sonic-v1:0", nil
			d.Options = map[string]string{"region": "us-east-1"}
			d.Secrets = map[string]*resource.Sealed{"aws_access_key_id": {}, "aws_secret_access_key": {}}
		}
	})
	k := st.open(t)
	k.send(`{"type":"session.update","session":{"type":"realtime","instructions":"Be short."}}`)
	k.await("session.updated")
	k.send(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)
	k.await("response.done")
	if got := k.heard(); got != "Hello." {
		t.Errorf("heard %q", got)
	}
	_ = k.conn.Close(1000, "")
	r := st.awaitRecords(t, 1)[0]
	if u := r.Usage; u.Input != 7 || u.AudioInput != 20 || u.Output != 5 || u.AudioOutput != 25 || u.Source != llm.UsageProvider || r.Cost == 0 || r.Provider != "bedrock" {
		t.Errorf("record %+v", r)
	}
	st.money.balance(t, "budget", 1)
}
