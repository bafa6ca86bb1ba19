package declare_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/declare"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// TestApply_SignIn: a file that is applied again does not put a secret in the place of what a sign-in gave or renewed,
// unless it gives another one.
func TestApply_SignIn(t *testing.T) {
	t.Parallel()
	type secrets = map[string]declare.Secret
	text := func(text string) secrets { return secrets{"chatgpt_auth": {Text: text}} }
	for _, tt := range []struct {
		name    string
		given   secrets // first, before the renewal
		again   secrets
		change  func(c *resource.Credential)
		renewed bool   // once more
		plan    string // of the second application
		stored  string // then; "": none
		err     string
	}{
		{"the used text", text("first"), text("first"), nil, false, "", "renewed", ""},
		{"the used text after two renewals", text("first"), text("first"), nil, true, "", "renewed again", ""},
		{"left out", text("first"), nil, nil, false, "", "renewed", ""},
		{"never given", nil, nil, nil, false, "", "renewed", ""},
		{"the stored one, as an export says it", text("first"), secrets{"chatgpt_auth": {Sealed: "stale"}}, nil, true, "", "renewed again", ""},
		{"another text", text("first"), text("second"), nil, false, "update credential mine", "second", ""},
		{"another text where none was", nil, text("second"), nil, false, "update credential mine", "second", ""},
		{"beside another change", text("first"), text("first"), func(c *resource.Credential) { c.Options = map[string]string{"x": "y"} }, false, "update credential mine", "renewed", ""},
		{"another host", text("first"), text("first"), func(c *resource.Credential) { c.APIBase = "https://evil.example" }, false, "", "renewed", "give the secret again"},
		{"another host, left out", text("first"), nil, func(c *resource.Credential) {
			c.Options = map[string]string{"chatgpt_auth_url": "https://evil.example"}
		}, false, "", "renewed", "give the secret again"},
		{"another provider", text("first"), nil, func(c *resource.Credential) { c.Provider = "openai" }, false, "update credential mine", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := adminapitest.New(t)
			apply := func(given secrets, change func(*resource.Credential)) (string, error) {
				c := resource.Credential{Name: "mine", Provider: "chatgpt"}
				if change != nil {
					change(&c)
				}
				changes, err := declare.Apply(t.Context(), h, declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}, declare.File{
					Credentials: []declare.Credential{{Record: c, Secrets: given}},
				})
				var out []string
				for _, c := range changes {
					out = append(out, c.Action+" "+c.Kind+" "+c.Name)
				}
				return strings.Join(out, ", "), err
			}
			if _, err := apply(tt.given, nil); err != nil {
				t.Fatal(err)
			}
			signIn(t, h, "renewed")
			if tt.renewed {
				signIn(t, h, "renewed again")
			}
			got, err := apply(tt.again, tt.change)
			if got != tt.plan || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("applied %q, %v", got, err)
			}
			now := h.State.Catalog().Tables().Credentials[0].Secrets["chatgpt_auth"]
			stored := ""
			if now != nil {
				stored, _ = adminapitest.Open(now, "", "", "")
			}
			if stored != tt.stored || now != nil && now.SignIn != strings.HasPrefix(stored, "renewed") {
				t.Errorf("stored %q: %#v", stored, now)
			}
		})
	}
}

// signIn puts what a sign-in gave into the one credential.
func signIn(t *testing.T, h *adminapitest.Harness, text string) {
	t.Helper()
	c := h.State.Catalog().Tables().Credentials[0]
	next, _ := adminapitest.Seal(text, "credential", c.ID, "chatgpt_auth")
	was := c.Secrets["chatgpt_auth"]
	next.Follow(was)
	by, cmd := fsm.Actor{Kind: "node", ID: "n1"}, fsm.Command(nil)
	if was != nil {
		cmd = fsm.Reseal{Items: []fsm.Resealed{{Kind: "credential", ID: c.ID, Field: "chatgpt_auth", Old: was.Box, Sealed: next}}}
	} else {
		changed := *c
		changed.Secrets = map[string]*resource.Sealed{"chatgpt_auth": next}
		e, err := fsm.EncodedOf(changed)
		if err != nil {
			t.Fatal(err)
		}
		by, cmd = fsm.Actor{Kind: "file"}, fsm.PutCredential{Credential: e, Read: c.Version}
	}
	if _, err := h.Propose(t.Context(), by, "", cmd); err != nil {
		t.Fatal(err)
	}
}

// TestApply_SignInDeployment: the same is true of a secret of a deployment itself.
func TestApply_SignInDeployment(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	apply := func(base, auth string) (int, error) {
		d := declare.Deployment{Record: resource.Deployment{Name: "d", Provider: "chatgpt", APIBase: base}}
		if auth != "" {
			d.Secrets = map[string]declare.Secret{"chatgpt_auth": {Text: auth}}
		}
		changes, err := declare.Apply(t.Context(), h, declare.Config{State: h.State, Seal: adminapitest.Seal, Now: h.Clock}, declare.File{
			Models: []declare.Model{{Record: resource.Model{Name: "codex"}, Deployments: []declare.Deployment{d}}},
		})
		return len(changes), err
	}
	if _, err := apply("", "first"); err != nil {
		t.Fatal(err)
	}
	was := h.State.Catalog().Tables().Deployments[0]
	next, _ := adminapitest.Seal("renewed", "deployment", was.ID, "chatgpt_auth")
	next.Follow(was.Secrets["chatgpt_auth"])
	if _, err := h.Propose(t.Context(), fsm.Actor{Kind: "node", ID: "n1"}, "", fsm.Reseal{Items: []fsm.Resealed{
		{Kind: "deployment", ID: was.ID, Field: "chatgpt_auth", Old: was.Secrets["chatgpt_auth"].Box, Sealed: next},
	}}); err != nil {
		t.Fatal(err)
	}
	for _, auth := range []string{"first", ""} {
		if n, err := apply("", auth); n != 0 || err != nil {
			t.Errorf("with %q: %d changes, %v", auth, n, err)
		}
	}
	if _, err := apply("https://evil.example", ""); err == nil {
		t.Error("the token goes to another host")
	}
	if n, err := apply("", "second"); n != 1 || err != nil {
		t.Errorf("another one: %d changes, %v", n, err)
	}
}
