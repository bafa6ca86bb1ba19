package auth_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	plugin "github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/proxy/auth"
	"github.com/conclave-llm/conclave/resource"
)

// asked is plugins of a function, which counts.
type asked struct {
	answer func(a *resource.Auth, r *plugin.Request) (plugin.Answer, error)
	times  int
}

func (p *asked) Ask(_ context.Context, a *resource.Auth, r *plugin.Request) (plugin.Answer, error) {
	p.times++
	return p.answer(a, r)
}

func withAuths(auths ...*resource.Auth) *resource.Catalog {
	t := *catalog().Tables()
	t.Auths = auths
	return resource.NewCatalog(t)
}

func identity(i plugin.Identity) func(*resource.Auth, *plugin.Request) (plugin.Answer, error) {
	return func(*resource.Auth, *plugin.Request) (plugin.Answer, error) { return plugin.Answer{Identity: &i}, nil }
}

func TestAuthenticateRequest(t *testing.T) {
	t.Parallel()
	const known = "sk-0123456789abcdef"
	keys := table{}
	keys.put(known, &resource.Key{Meta: resource.Meta{ID: "key_1"}, TeamID: "team_a"})
	keys.put("imported", &resource.Key{Meta: resource.Meta{ID: "key_3"}})
	keys.put("sk-blocked-key-here", &resource.Key{Meta: resource.Meta{ID: "key_2"}, Blocked: true})
	down := func(*resource.Auth, *plugin.Request) (plugin.Answer, error) {
		return plugin.Answer{}, errors.New("down")
	}
	left := func(*resource.Auth, *plugin.Request) (plugin.Answer, error) { return plugin.Answer{}, nil }
	refused := func(status int) func(*resource.Auth, *plugin.Request) (plugin.Answer, error) {
		return func(*resource.Auth, *plugin.Request) (plugin.Answer, error) {
			return plugin.Answer{Refusal: &plugin.Refusal{Status: status, Code: "revoked"}}, nil
		}
	}
	for _, tt := range []struct {
		name   string
		secret string
		header string
		mode   resource.AuthMode
		pass   bool
		routes []string
		answer func(*resource.Auth, *plugin.Request) (plugin.Answer, error)
		times  int
		key    string // of the principal
		master bool
		code   string
		status int
	}{
		{name: "a virtual key is not given to it", secret: known, answer: down, key: "key_1"},
		{name: "nor an imported one of another form", secret: "imported", answer: down, key: "key_3"},
		{name: "nor a request without a credential", answer: down, code: "no_api_key", status: 401},
		{name: "but one with an allowed header", header: "alice", answer: identity(plugin.Identity{KeyID: "key_1"}), times: 1, key: "key_1"},
		{name: "nor the master key", secret: "sk-master-key-1234", mode: resource.AuthOn, answer: down, master: true},
		{name: "another path is not its", secret: "token", routes: []string{"/other"}, answer: down, code: "invalid_api_key", status: 401},
		{name: "a key by its id", secret: "token", answer: identity(plugin.Identity{KeyID: "key_1"}), times: 1, key: "key_1"},
		{name: "a key by its hash", secret: "token", answer: identity(plugin.Identity{KeyHash: resource.HashSecret(known).String()}), times: 1, key: "key_1"},
		{name: "a blocked key", secret: "token", answer: identity(plugin.Identity{KeyID: "key_2"}), times: 1, code: "key_blocked", status: 401},
		{name: "a key that is not there", secret: "token", answer: identity(plugin.Identity{KeyID: "key_9"}), times: 1, code: "invalid_api_key", status: 401},
		{name: "no hash", secret: "token", answer: identity(plugin.Identity{KeyHash: "xyz"}), times: 1, code: "auth_plugin_unavailable", status: 503},
		{name: "the master key's hash", secret: "token", answer: identity(plugin.Identity{KeyHash: resource.HashSecret("sk-master-key-1234").String()}), times: 1, code: "auth_plugin_unavailable", status: 503},
		{name: "the master key's hash, passed", secret: "token", pass: true, answer: identity(plugin.Identity{KeyHash: resource.HashSecret("sk-master-key-1234").String()}), times: 1, code: "invalid_api_key", status: 401},
		{name: "an expired identity", secret: "token", answer: identity(plugin.Identity{KeyID: "key_1", ExpiresAt: now}), times: 1, code: "expired_key", status: 401},
		{name: "a team that is not there", secret: "token", answer: identity(plugin.Identity{TeamID: "team_gone"}), times: 1, code: "identity_unknown", status: 403},
		{name: "a user that is not there", secret: "token", answer: identity(plugin.Identity{UserID: "a label"}), times: 1, code: "identity_unknown", status: 403},
		{name: "a project of another team", secret: "token", answer: identity(plugin.Identity{TeamID: "team_org", ProjectID: "project_a"}), times: 1, code: "identity_unknown", status: 403},
		{name: "a blocked team", secret: "token", answer: identity(plugin.Identity{TeamID: "team_blocked"}), times: 1, code: "team_blocked", status: 401},
		{name: "a blocked user", secret: "token", answer: identity(plugin.Identity{UserID: "user_blocked"}), times: 1, code: "user_blocked", status: 401},
		{name: "an expired team", secret: "token", answer: identity(plugin.Identity{TeamID: "team_expired"}), times: 1, code: "team_expired", status: 401},
		{name: "refused", secret: "token", answer: refused(401), times: 1, code: "revoked", status: 401},
		{name: "forbidden", secret: "token", answer: refused(403), times: 1, code: "revoked", status: 403},
		{name: "left to others", secret: "token", answer: left, times: 1, code: "invalid_api_key", status: 401},
		{name: "away", secret: "token", answer: down, times: 1, code: "auth_plugin_unavailable", status: 503},
		{name: "away, passed", secret: "token", pass: true, answer: down, times: 1, code: "invalid_api_key", status: 401},
		{name: "auto: it goes before the keys", secret: known, mode: resource.AuthAuto, answer: refused(401), times: 1, code: "revoked", status: 401},
		{name: "auto: keys count if it says nothing", secret: known, mode: resource.AuthAuto, answer: left, times: 1, key: "key_1"},
		{name: "auto: away", secret: known, mode: resource.AuthAuto, answer: down, times: 1, code: "auth_plugin_unavailable", status: 503},
		{name: "auto: away, passed", secret: known, mode: resource.AuthAuto, pass: true, answer: down, times: 1, key: "key_1"},
		{name: "on: keys do not count", secret: known, mode: resource.AuthOn, answer: left, times: 1, code: "invalid_api_key", status: 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &asked{answer: tt.answer}
			record := &resource.Auth{Meta: resource.Meta{ID: "auth_1"}, Name: "idp", Mode: tt.mode, Routes: tt.routes, Headers: []string{"X-User"}}
			record.Canonicalize()
			if tt.pass {
				record.OnError = resource.OnErrorPass
			}
			a := auth.New(auth.Config{
				Keys: keys, Plugins: p, Now: func() time.Time { return now },
				Master: func() resource.Hash { return resource.HashSecret("sk-master-key-1234") },
			})
			r := &plugin.Request{Secret: tt.secret, Path: "/v1/chat/completions", Header: http.Header{}}
			if tt.header != "" {
				r.Header.Set("X-User", tt.header)
			}
			who, err := a.AuthenticateRequest(t.Context(), withAuths(record), r)
			if p.times != tt.times {
				t.Errorf("asked %d times, want %d", p.times, tt.times)
			}
			if tt.code != "" {
				e, ok := errors.AsType[*llm.Error](err)
				if !ok || e.Code != tt.code || e.HTTPStatus() != tt.status {
					t.Errorf("got %v, want %d %s", err, tt.status, tt.code)
				}
				return
			}
			if err != nil || who.Master != tt.master || !tt.master && who.Key.ID != tt.key {
				t.Errorf("got %+v, %v", who, err)
			}
		})
	}
}

// Who has no key gets one for the request: of his records, and never more than they allow.
func TestAuthenticateRequest_made(t *testing.T) {
	t.Parallel()
	p := &asked{answer: identity(plugin.Identity{
		TeamID: "team_a", UserID: "user_a", ProjectID: "project_a", CustomerID: "c", Models: []string{"small"}, RPM: 5, Tags: []string{"t"},
	})}
	a := auth.New(auth.Config{Keys: table{}, Plugins: p, Now: func() time.Time { return now }})
	record := &resource.Auth{Meta: resource.Meta{ID: "auth_1"}, Name: "idp", Mode: resource.AuthUnknown}
	ask := func() *resource.Principal {
		who, err := a.AuthenticateRequest(t.Context(), withAuths(record), &plugin.Request{Secret: "token", Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		return who
	}
	who := ask()
	if !who.Unkept || who.Auth != "idp" || who.CustomerID != "c" || who.Team == nil || who.User == nil || who.Member == nil || who.Project == nil || who.Organization == nil || who.IsAdmin() {
		t.Errorf("got %+v", who)
	}
	kinds := ""
	for _, l := range who.Levels(nil) {
		kinds += l.Kind + " "
	}
	if kinds != "organization team project user member key " {
		t.Errorf("levels: %s", kinds)
	}
	k := who.Key
	if resource.AllowsModel(k.Models, "large") || *k.Limits.RPM != 5 || k.Limits.TPM != nil || k.Tags[0] != "t" || k.Role != resource.RoleInference {
		t.Errorf("key: %+v", k)
	}
	if again := ask(); again.Key.ID != k.ID {
		t.Errorf("the same people have the keys %s and %s", k.ID, again.Key.ID)
	}
	p.answer = identity(plugin.Identity{UserID: "user_a"})
	if other := ask(); other.Key.ID == k.ID || other.Team != nil {
		t.Errorf("others: %+v", other)
	}
}

// Without auth plugins nobody is asked, and nothing is allocated for them.
func TestAuthenticateRequest_none(t *testing.T) {
	t.Parallel()
	keys := table{}
	keys.put("sk-0123456789abcdef", &resource.Key{})
	p := &asked{}
	a := auth.New(auth.Config{Keys: keys, Plugins: p})
	if _, err := a.AuthenticateRequest(t.Context(), catalog(), &plugin.Request{Secret: "sk-0123456789abcdef"}); err != nil || p.times != 0 {
		t.Errorf("asked %d times, %v", p.times, err)
	}
}
