package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/providers"
	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/node/signin"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// said is one answer of a provider.
type said struct {
	status int
	body   string
}

// hush is in all that nobody may be shown.
const hush = "hush"

const (
	githubBegin = `{"device_code":"` + hush + `-device","user_code":"ABCD-1234","verification_uri":"https://github.com/login/device","expires_in":900,"interval":5}`
	openaiBegin = `{"device_auth_id":"` + hush + `-device","user_code":"WXYZ-9876","interval":"5"}`
	pending     = `{"error":"authorization_pending"}`
)

// office is a Desk, and a provider that says what it was told to: the last answer again and again.
type office struct {
	*signin.Desk
	mu     sync.Mutex
	asked  []string // "METHOD URL body"
	times  []time.Duration
	start  time.Time
	says   []said
	fail   error // of the network
	stored []string
	refuse []error // of Store, in turn
	log    strings.Builder
}

// RoundTrip is the provider.
func (o *office) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, r.Method+" "+r.URL.String()+" "+string(body))
	o.times = append(o.times, time.Since(o.start))
	if o.fail != nil {
		return nil, o.fail
	}
	now := o.says[0]
	if len(o.says) > 1 {
		o.says = o.says[1:]
	}
	return &http.Response{StatusCode: now.status, Body: io.NopCloser(strings.NewReader(now.body)), Request: r}, nil
}

func (o *office) store(_ context.Context, text secret.Text) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.refuse) > 0 {
		err := o.refuse[0]
		o.refuse = o.refuse[1:]
		return err
	}
	o.stored = append(o.stored, text.Reveal())
	return nil
}

// seen is what the provider was asked, and what was stored.
func (o *office) seen() (asked, stored []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked), slices.Clone(o.stored)
}

func (o *office) order(provider, name string) providers.SignInOrder {
	return providers.SignInOrder{Provider: provider, Credential: &resource.Credential{Name: name, Provider: provider}, Store: o.store}
}

// begin begins a sign-in that must begin.
func (o *office) begin(t *testing.T, provider, name string) client.SignIn {
	t.Helper()
	s, err := o.Begin(t.Context(), o.order(provider, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// after is the sign-in after a while.
func (o *office) after(t *testing.T, id string, d time.Duration) client.SignIn {
	t.Helper()
	time.Sleep(d) // in a bubble
	synctest.Wait()
	s, ok := o.SignIn(id)
	if !ok {
		t.Fatal("the sign-in is not known")
	}
	return s
}

// withOffice runs a test with an office, in a bubble, and checks that no secret was shown.
func withOffice(t *testing.T, says []said, test func(t *testing.T, o *office)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		o := &office{says: says, start: time.Now()}
		o.Desk = signin.NewDesk(signin.DeskConfig{
			NodeID: "node_1", Node: "a", Client: &http.Client{Transport: o}, Way: straight, Logger: slog.New(slog.NewTextHandler(&o.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Go: func(f func(context.Context)) { wg.Go(func() { f(ctx) }) },
		})
		test(t, o)
		stop()
		wg.Wait()
		if strings.Contains(o.log.String(), hush) {
			t.Errorf("logged a secret:\n%s", o.log.String())
		}
	})
}

// TestDesk_GitHub: a token is asked for as often as GitHub says, and stored once.
func TestDesk_GitHub(t *testing.T) {
	withOffice(t, []said{
		{200, githubBegin},
		{200, pending},
		{200, `{"error":"slow_down","error_description":"` + hush + `","interval":12}`},
		{200, `{"error":"slow_down"}`},
		{200, `{"access_token":"gho_` + hush + `","token_type":"bearer","scope":"read:user"}`},
	}, func(t *testing.T, o *office) {
		s := o.begin(t, "github_copilot", "mine")
		if s.State != client.SignInPending || s.UserCode != "ABCD-1234" || s.VerificationURL != "https://github.com/login/device" || s.Node != "a" || !strings.HasSuffix(s.ID, ".node_1") || time.Until(s.ExpiresAt) != 15*time.Minute {
			t.Errorf("begun: %+v", s)
		}
		if s = o.after(t, s.ID, 38*time.Second); s.State != client.SignInPending {
			t.Errorf("got %+v", s)
		}
		s = o.after(t, s.ID, 2*time.Second)
		asked, stored := o.seen()
		if s.State != client.SignInDone || s.UserCode != "" || s.VerificationURL != "" || strings.Join(stored, " ") != "gho_hush" {
			t.Errorf("got %+v, stored %q", s, stored)
		}
		if got := fmt.Sprint(o.times); got != "[0s 5s 10s 22s 39s]" {
			t.Errorf("asked after %s", got)
		}
		if asked[0] != `POST https://github.com/login/device/code {"client_id":"Iv1.b507a08c87ecfe98","scope":"read:user"}` ||
			asked[4] != `POST https://github.com/login/oauth/access_token {"client_id":"Iv1.b507a08c87ecfe98","device_code":"hush-device","grant_type":"urn:ietf:params:oauth:grant-type:device_code"}` {
			t.Errorf("asked %q", asked)
		}
	})
}

// TestDesk_ChatGPT: a grant is exchanged for tokens, again if nobody answered, and they are stored as an auth.json.
func TestDesk_ChatGPT(t *testing.T) {
	token := "e30.eyJleHAiOjIwMDAwMDAwMDAsImh0dHBzOi8vYXBpLm9wZW5haS5jb20vYXV0aCI6eyJjaGF0Z3B0X2FjY291bnRfaWQiOiJhY2MifX0.c2ln"
	withOffice(t, []said{
		{200, openaiBegin},
		{403, `{"error":{"code":"deviceauth_authorization_pending","message":"` + hush + `"}}`},
		{404, ``},
		{200, `{"authorization_code":"` + hush + `-grant","code_challenge":"c","code_verifier":"` + hush + `-verifier"}`},
		{503, `later`},
		{200, `{"id_token":"i","access_token":"` + token + `","refresh_token":"rt-` + hush + `"}`},
	}, func(t *testing.T, o *office) {
		order := o.order("chatgpt", "mine")
		order.Credential.Options = map[string]string{"chatgpt_auth_url": "https://login.example/"}
		s, err := o.Begin(t.Context(), order)
		if err != nil || s.UserCode != "WXYZ-9876" || s.VerificationURL != "https://login.example/codex/device" {
			t.Fatalf("got %+v, %v", s, err)
		}
		s = o.after(t, s.ID, time.Minute)
		asked, stored := o.seen()
		if s.State != client.SignInDone || len(stored) != 1 {
			t.Fatalf("got %+v, stored %q\n%q", s, stored, asked)
		}
		a, err := chatgpt.ParseAuth(stored[0])
		if err != nil || a.Access != token || a.Refresh != "rt-hush" || a.Account != "acc" || !strings.Contains(stored[0], `"last_refresh":"20`) {
			t.Errorf("stored %s: %+v, %v", stored[0], a, err)
		}
		if len(asked) != 6 || asked[3] != `POST https://login.example/api/accounts/deviceauth/token {"device_auth_id":"hush-device","user_code":"WXYZ-9876"}` {
			t.Errorf("asked %q", asked)
		}
		form, err := url.ParseQuery(strings.TrimPrefix(asked[5], "POST https://login.example/oauth/token "))
		if err != nil || asked[5] != asked[4] || form.Get("code") != "hush-grant" || form.Get("code_verifier") != "hush-verifier" || form.Get("redirect_uri") != "https://login.example/deviceauth/callback" || form.Get("grant_type") != "authorization_code" {
			t.Errorf("exchanged %v, %v", form, err)
		}
	})
}

// TestDesk_Ends: each end has its word, and its reason has nothing of what a provider says but the code.
func TestDesk_Ends(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider string
		says           []said
		state, reason  string
		asked          int
	}{
		{"denied", "github_copilot", []said{{200, githubBegin}, {200, `{"error":"access_denied","error_description":"hush"}`}}, client.SignInDenied, "did not allow", 2},
		{"expired", "github_copilot", []said{{200, githubBegin}, {200, `{"error":"expired_token"}`}}, client.SignInExpired, "in time", 2},
		{"never entered", "github_copilot", []said{{200, strings.Replace(githubBegin, "900", "21", 1)}, {200, pending}}, client.SignInExpired, "in time", 5},
		{"refused", "github_copilot", []said{{200, githubBegin}, {200, `{"error":"incorrect_device_code"}`}}, client.SignInFailed, "refused with 200 incorrect_device_code", 2},
		{"words for a code", "github_copilot", []said{{200, githubBegin}, {400, `{"error":"hush! <b>"}`}}, client.SignInFailed, "refused with 400", 2},
		{"no token", "github_copilot", []said{{200, githubBegin}, {200, `<html>hush</html>`}}, client.SignInFailed, "no access_token", 2},
		{"down until the end", "github_copilot", []said{{200, githubBegin}, {500, `hush`}}, client.SignInExpired, "in time", 18},
		{"ChatGPT denied", "chatgpt", []said{{200, openaiBegin}, {403, `{"error":{"code":"access_denied"}}`}}, client.SignInDenied, "did not allow", 2},
		{"ChatGPT refused", "chatgpt", []said{{200, openaiBegin}, {400, `{"error":{"code":"bad_request","message":"hush"}}`}}, client.SignInFailed, "refused with 400 bad_request", 2},
		{"ChatGPT never entered", "chatgpt", []said{{200, strings.Replace(openaiBegin, `"5"`, "7", 1)}, {403, ``}}, client.SignInExpired, "in time", 129},
		{"no exchange", "chatgpt", []said{{200, openaiBegin}, {200, `{"authorization_code":"hush","code_verifier":"hush"}`}, {400, `{"error":"invalid_grant"}`}}, client.SignInFailed, "refused with 400 invalid_grant", 3},
		{"no refresh token", "chatgpt", []said{{200, openaiBegin}, {200, `{"authorization_code":"hush","code_verifier":"hush"}`}, {200, `{"access_token":"hush"}`}}, client.SignInFailed, "no refresh_token", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withOffice(t, tt.says, func(t *testing.T, o *office) {
				s := o.begin(t, tt.provider, "mine")
				s = o.after(t, s.ID, 15*time.Minute)
				asked, stored := o.seen()
				if s.State != tt.state || !strings.Contains(s.Error, tt.reason) || strings.Contains(s.Error, hush) || s.UserCode != "" || len(stored) != 0 || len(asked) != tt.asked {
					t.Errorf("got %+v after %d questions, stored %q", s, len(asked), stored)
				}
			})
		})
	}
}

// TestDesk_Begin: what keeps a sign-in from beginning is said at once, and nothing is pending then.
func TestDesk_Begin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, provider string
		says           said
		fail           error
		code, text     string
	}{
		{"another provider", "openai", said{}, nil, "invalid", "knows no sign-in"},
		{"sealed", "github_copilot", said{}, &egress.RefusedError{Address: "github.com:443"}, "refused", "sealed mode refuses to dial github.com:443"},
		{"nobody there", "github_copilot", said{}, errors.New("no route to host"), "", "no route to host"},
		{"refused", "github_copilot", said{404, `{"error":"Not Found hush"}`}, nil, "", "refused with 404"},
		{"not switched on", "github_copilot", said{200, `{"error":"device_flow_disabled"}`}, nil, "", "device_flow_disabled"},
		{"no code", "github_copilot", said{200, `{"device_code":"hush","verification_uri":"https://github.com"}`}, nil, "", "has no code"},
		{"no page", "github_copilot", said{200, strings.Replace(githubBegin, "https:", "javascript:", 1)}, nil, "", "names no page"},
		{"a page for the terminal", "github_copilot", said{200, strings.Replace(githubBegin, "login/device", `\u001b[2J`, 1)}, nil, "", "names no page"},
		{"ChatGPT refused", "chatgpt", said{404, ``}, nil, "", "refused with 404"},
		{"ChatGPT speaks otherwise", "chatgpt", said{200, `[]`}, nil, "", "no JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withOffice(t, []said{tt.says}, func(t *testing.T, o *office) {
				o.fail = tt.fail
				s, err := o.Begin(t.Context(), o.order(tt.provider, "mine"))
				if err == nil || s.ID != "" || resource.Code(err) != tt.code || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), hush) {
					t.Errorf("got %+v, %v", s, err)
				}
				if e, ok := errors.AsType[*llm.Error](err); tt.code == "" && (!ok || e.HTTPStatus() != 502) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestDesk_Cancel: who cancels, or begins again, ends a sign-in; one that is stored stays.
func TestDesk_Cancel(t *testing.T) {
	withOffice(t, []said{{200, githubBegin}, {200, githubBegin}, {200, githubBegin}, {200, pending}, {200, pending}, {200, `{"access_token":"gho_hush"}`}}, func(t *testing.T, o *office) {
		first := o.begin(t, "github_copilot", "mine")
		second := o.begin(t, "github_copilot", "mine")
		other := o.begin(t, "github_copilot", "other")
		if s := o.after(t, first.ID, 0); s.State != client.SignInCancelled || !strings.Contains(s.Error, "another sign-in") {
			t.Errorf("the first: %+v", s)
		}
		o.after(t, second.ID, 6*time.Second)
		if s, ok := o.CancelSignIn(second.ID); !ok || s.State != client.SignInCancelled || s.UserCode != "" {
			t.Errorf("the second: %+v", s)
		}
		s := o.after(t, other.ID, time.Minute)
		if asked, stored := o.seen(); s.State != client.SignInDone || len(stored) != 1 || len(asked) != 6 {
			t.Errorf("the other: %+v, %d questions", s, len(asked))
		}
		if s, ok := o.CancelSignIn(other.ID); !ok || s.State != client.SignInDone {
			t.Errorf("cancelled after its end: %+v", s)
		}
		if _, ok := o.CancelSignIn("signin_x.node_1"); ok {
			t.Error("cancelled one that there is not")
		}
		time.Sleep(2 * time.Hour)
		o.mu.Lock()
		o.says = []said{{200, githubBegin}}
		o.mu.Unlock()
		o.begin(t, "github_copilot", "mine")
		if _, ok := o.SignIn(other.ID); ok {
			t.Error("one that ended long ago is still known")
		}
	})
}

// TestDesk_Store: a cluster without a leader is waited for, and what it refuses for good is told.
func TestDesk_Store(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, state, reason string
		refuse              []error
	}{
		{"no leader for a while", client.SignInDone, "", []error{resource.ErrNoLeader, fmt.Errorf("put: %w", resource.ErrConflict), context.DeadlineExceeded}},
		{"revoked", client.SignInFailed, "not stored: put: forbidden", []error{fmt.Errorf("put: %w", resource.ErrForbidden)}},
		{"no leader", client.SignInFailed, "no leader", slicesOf(resource.ErrNoLeader, 200)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withOffice(t, []said{{200, githubBegin}, {200, `{"access_token":"gho_hush"}`}}, func(t *testing.T, o *office) {
				o.refuse = tt.refuse
				s := o.begin(t, "github_copilot", "mine")
				if tt.state == client.SignInDone {
					if s := o.after(t, s.ID, 6*time.Second); s.State != client.SignInPending {
						t.Errorf("got %+v", s)
					}
					if s, _ := o.CancelSignIn(s.ID); s.State != client.SignInPending {
						t.Errorf("cancelled while it is stored: %+v", s)
					}
				}
				if s := o.after(t, s.ID, 5*time.Minute); s.State != tt.state || !strings.Contains(s.Error, tt.reason) {
					t.Errorf("got %+v", s)
				}
			})
		})
	}
}

func slicesOf(err error, n int) (all []error) {
	for range n {
		all = append(all, err)
	}
	return all
}

// TestDesk_Room: a node has so many sign-ins at a time and no more.
func TestDesk_Room(t *testing.T) {
	withOffice(t, []said{{200, githubBegin}}, func(t *testing.T, o *office) {
		for i := range 32 {
			o.begin(t, "github_copilot", fmt.Sprint("c", i))
		}
		_, err := o.Begin(t.Context(), o.order("github_copilot", "one more"))
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.HTTPStatus() != 503 {
			t.Errorf("got %v", err)
		}
	})
}

// TestDesk_Stop: the node's end is the end of its sign-ins, without a word.
func TestDesk_Stop(t *testing.T) {
	withOffice(t, []said{{200, githubBegin}, {200, pending}}, func(t *testing.T, o *office) {
		o.begin(t, "github_copilot", "mine")
		time.Sleep(7 * time.Second)
	})
}

// FuzzDevice: whatever a provider answers, what is shown of it can be shown, and a secret has been given only where
// there is one.
func FuzzDevice(f *testing.F) {
	for _, seed := range []said{
		{200, githubBegin},
		{200, openaiBegin},
		{403, `{"error":{"code":"deviceauth_authorization_pending"}}`},
		{200, `{"error":"slow_down","interval":"1e9"}`},
		{200, `{"access_token":"t","refresh_token":"r","authorization_code":"a","code_verifier":"v"}`},
		{200, `{"device_code":"d","user_code":"u","verification_uri":"http://h","device_auth_id":"d","interval":-1,"expires_in":"NaN"}`},
	} {
		f.Add(seed.status, seed.body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		for _, name := range []string{"github_copilot", "chatgpt"} {
			shown, text, err := signin.Exchange(name, status, []byte(body))
			if (shown.VerificationURL == "") != (shown.UserCode == "") || len(shown.UserCode) > 64 {
				t.Fatalf("%s: shows %+v", name, shown)
			}
			for _, r := range shown.VerificationURL + shown.UserCode {
				if r < ' ' || r > '~' {
					t.Fatalf("%s: shows %q", name, shown)
				}
			}
			if err == nil && text == "" {
				t.Fatalf("%s: gives nothing", name)
			}
			if name == "chatgpt" && text != "" && !json.Valid([]byte(text)) {
				t.Fatalf("stores %q", text)
			}
		}
	})
}
