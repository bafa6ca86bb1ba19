package upstream_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/bedrock"
	"github.com/conclave-llm/conclave/proxy/socket"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// sonic is a stand-in of Bedrock's stream that goes both ways. It answers each message with "heard MESSAGE", if the
// request and the events are signed one after the other, and "end" with the end of the stream.
func sonic(t *testing.T) *httptest.Server {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, seed, ok := strings.Cut(r.Header.Get("Authorization"), "Signature=")
		raw, err := hex.DecodeString(seed)
		if !ok || err != nil || r.ProtoMajor != 2 || r.URL.Path != "/model/amazon.nova-2-sonic-v1:0/invoke-with-bidirectional-stream" || r.Header.Get("X-Amz-Content-Sha256") != "STREAMING-AWS4-HMAC-SHA256-EVENTS" {
			w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"You may not."}`)
			return
		}
		signer := &chain{last: raw}
		w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
		w.WriteHeader(http.StatusOK)
		say := func(frame []byte) {
			_, _ = w.Write(frame)
			_ = http.NewResponseController(w).Flush()
		}
		for {
			inner, ok := unsigned(r.Body, signer)
			if !ok {
				say(bedrock.AppendException(nil, "ValidationException", "A signature is wrong."))
				return
			}
			if len(inner) == 0 {
				return
			}
			e, err := bedrock.NewReader(bytes.NewReader(inner), 0).Next()
			if err != nil {
				return
			}
			message, err := bedrock.Chunk(&e)
			switch {
			case err != nil || string(message) == "fail":
				say(bedrock.AppendException(nil, "modelStreamErrorException", "It failed."))
			case string(message) == "end":
				return
			default:
				say(bedrock.AppendChunk(nil, append([]byte("heard "), message...)))
			}
		}
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// unsigned takes the frame out of the next one, and checks its signature.
func unsigned(src io.Reader, signer *chain) ([]byte, bool) {
	head := make([]byte, 12)
	if _, err := io.ReadFull(src, head); err != nil {
		return nil, errors.Is(err, io.EOF)
	}
	rest := make([]byte, binary.BigEndian.Uint32(head)-12)
	if _, err := io.ReadFull(src, rest); err != nil {
		return nil, false
	}
	headers, payload := rest[:binary.BigEndian.Uint32(head[4:])], rest[binary.BigEndian.Uint32(head[4:]):len(rest)-4]
	const date = 1 + len(":date") + 1 + 8 // the first header
	at := time.UnixMilli(int64(binary.BigEndian.Uint64(headers[date-8 : date])))
	return payload, bytes.Equal(headers[len(headers)-32:], signer.next(headers[:date], payload, at))
}

// chain makes the signatures of events, as Amazon's documentation of streams has them.
type chain struct{ last []byte }

func (c *chain) next(headers, payload []byte, at time.Time) []byte {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	digest := func(b []byte) string {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	day := at.UTC().Format("20060102")
	key := mac(mac(mac(mac([]byte("AWS4hush"), day), "us-east-1"), "bedrock"), "aws4_request")
	c.last = mac(key, strings.Join([]string{
		"AWS4-HMAC-SHA256-PAYLOAD", at.UTC().Format("20060102T150405Z"), day + "/us-east-1/bedrock/aws4_request", hex.EncodeToString(c.last), digest(headers), digest(payload),
	}, "\n"))
	return c.last
}

func sonicAttempt(t *testing.T, url string, a *sign.Account) *upstream.Attempt {
	p, ok := provider.Lookup("bedrock")
	if !ok {
		t.Fatal("no row")
	}
	return &upstream.Attempt{Provider: p, Endpoint: llm.BedrockSonic, Base: url, Model: "amazon.nova-2-sonic-v1:0", Account: a, Header: http.Header{}}
}

// TestOpen_Duplex: a session over HTTP/2 is signed, its messages go both ways, and it ends as either side says.
func TestOpen_Duplex(t *testing.T) {
	t.Parallel()
	srv := sonic(t)
	c := upstream.New(upstream.Config{TLS: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
	t.Cleanup(c.Close)
	account := &sign.Account{Options: map[string]string{"region": "us-east-1"}, Secrets: map[string]secret.Text{"aws_access_key_id": secret.New("AKID"), "aws_secret_access_key": secret.New("hush")}}
	ctx := t.Context()

	conn, err := c.Open(ctx, sonicAttempt(t, srv.URL, account), socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"one", strings.Repeat("two ", 20000)} {
		if err := conn.Write(ctx, []byte(m)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(ctx); err != nil || string(got) != "heard "+m {
			t.Fatalf("got %.40q, %v", got, err)
		}
	}
	if err := conn.Write(ctx, []byte("end")); err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.Read(ctx)
	if closed, ok := errors.AsType[*socket.Closed](err); !ok || closed.Err != nil || closed.Code != socket.Normal {
		t.Errorf("got %v", err)
	}
	conn.Close(socket.Normal, "")
	if err := conn.Write(ctx, []byte("late")); err == nil {
		t.Error("a session that is over takes messages")
	}

	if conn, err = c.Open(ctx, sonicAttempt(t, srv.URL, account), socket.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(ctx, []byte("fail")); err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.Read(ctx)
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Message != "It failed." {
		t.Errorf("got %v", err)
	}
	conn.Close(socket.Normal, "")

	if conn, err = c.Open(ctx, sonicAttempt(t, srv.URL, account), socket.Options{}); err != nil {
		t.Fatal(err)
	}
	reading, stop := context.WithCancel(ctx)
	over := make(chan error)
	go func() {
		_, _, err := conn.Read(reading)
		over <- err
	}()
	stop()
	if err := <-over; err == nil {
		t.Error("reading goes on")
	}
	conn.Close(socket.Normal, "")
}

// TestOpen_DuplexRefused: who may not open a session is told why, as far as he may know.
func TestOpen_DuplexRefused(t *testing.T) {
	t.Parallel()
	srv := sonic(t)
	c := upstream.New(upstream.Config{TLS: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
	t.Cleanup(c.Close)
	keys := map[string]secret.Text{"aws_access_key_id": secret.New("AKID"), "aws_secret_access_key": secret.New("hush")}
	for _, a := range []*sign.Account{
		{Key: secret.New("sk-hush"), Options: map[string]string{"region": "us-east-1"}}, {Secrets: keys}, {Options: map[string]string{"region": "us-east-1"}},
	} {
		_, err := c.Open(t.Context(), sonicAttempt(t, srv.URL, a), socket.Options{})
		if e, ok := errors.AsType[*llm.Error](err); !ok || strings.Contains(e.Error(), "hush") {
			t.Errorf("got %v", err)
		}
	}
	good := &sign.Account{Options: map[string]string{"region": "us-east-1"}, Secrets: keys}
	if _, err := c.Open(t.Context(), sonicAttempt(t, "https://127.0.0.1:1", good), socket.Options{}); err == nil {
		t.Error("nobody opened a session")
	}
	other := sonicAttempt(t, srv.URL, good)
	other.Model = "another"
	conn, err := c.Open(t.Context(), other, socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.Read(t.Context())
	if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != llm.Upstream || e.HTTPStatus() != http.StatusBadGateway {
		t.Errorf("got %v", err)
	}
	conn.Close(socket.Normal, "")
}
