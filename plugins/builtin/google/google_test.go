package google_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/builtin/service/servicetest"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const armorPath = "/v1/projects/p-1/locations/us-central1/templates/t-1"

// serve is a stand-in for Google: "violent" is Violent with 0.9, "attack" is an attack, "Bob" is
// de-identified, and what the token endpoint hands out is asked for.
func serve(t *testing.T, public *rsa.PublicKey) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			token(t, w, r, public)
			return
		}
		if r.URL.Query().Get("key") != servicetest.Key && r.Header.Get("Authorization") != "Bearer token-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		type data struct {
			Text string `json:"text"`
		}
		switch r.URL.Path {
		case "/v1/documents:moderateText":
			var in struct {
				Document struct {
					Type    string `json:"type"`
					Content string `json:"content"`
				} `json:"document"`
			}
			servicetest.Read(t, r, &in)
			violent := map[bool]float64{true: 0.9, false: 0.01}[strings.Contains(in.Document.Content, "violent")]
			_ = json.NewEncoder(w).Encode(map[string]any{"languageCode": "en", "moderationCategories": []any{
				map[string]any{"name": "Violent", "confidence": violent}, map[string]any{"name": "Toxic", "confidence": 0.3},
			}})
		case armorPath + ":sanitizeUserPrompt":
			var in struct {
				Data data `json:"userPromptData"`
			}
			servicetest.Read(t, r, &in)
			armor(w, in.Data.Text)
		case armorPath + ":sanitizeModelResponse":
			var in struct {
				Data data `json:"modelResponseData"`
			}
			servicetest.Read(t, r, &in)
			armor(w, in.Data.Text)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func armor(w http.ResponseWriter, text string) {
	state := func(is bool) map[string]any {
		return map[string]any{"executionState": "EXECUTION_SUCCESS", "matchState": map[bool]string{true: "MATCH_FOUND", false: "NO_MATCH_FOUND"}[is]}
	}
	attack, bob := strings.Contains(text, "attack"), strings.Contains(text, "Bob")
	clean := state(bob)
	clean["data"] = map[string]string{"text": strings.ReplaceAll(text, "Bob", "[PERSON]")}
	_ = json.NewEncoder(w).Encode(map[string]any{"sanitizationResult": map[string]any{
		"filterMatchState": state(attack || bob)["matchState"], "invocationResult": "SUCCESS", "sanitizationMetadata": map[string]any{},
		"filterResults": map[string]any{
			"pi_and_jailbreak": map[string]any{"piAndJailbreakFilterResult": state(attack)},
			"rai":              map[string]any{"raiFilterResult": state(false)},
			"sdp":              map[string]any{"sdpFilterResult": map[string]any{"deidentifyResult": clean}},
		},
	}})
}

// token hands out a token for an assertion that the service account has signed.
func token(t *testing.T, w http.ResponseWriter, r *http.Request, public *rsa.PublicKey) {
	parts := strings.Split(r.FormValue("assertion"), ".")
	if public == nil || len(parts) != 3 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Error(err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature); err != nil || !strings.Contains(string(claims), `"iss":"robot@p-1"`) {
		t.Errorf("got the assertion %s, %v", claims, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprint(w, `{"access_token":"token-1","token_type":"Bearer","expires_in":3600}`)
}

func config(base, more string) string {
	return fmt.Sprintf(`{"api_base":%q,"api_key":%q%s}`, base, servicetest.Key, more)
}

const template = `,"project_id":"p-1","location":"us-central1","template_id":"t-1"`

func TestModeration(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t, nil))
	for _, tt := range []struct{ config, text, found string }{
		{"", "hello", "[]"}, {"", "violent", "[Violent 0.90]"}, {`,"threshold":0.95`, "violent", "[]"}, {`,"thresholds":{"Toxic":0.2}`, "hello", "[Toxic 0.30]"},
	} {
		v, err := servicetest.Configured(t, &google.Moderation{}, config(base, tt.config)).Check(t.Context(), servicetest.Check(sdk.After, tt.text))
		if err != nil || fmt.Sprint(v.Findings) != tt.found || (v.Action == guardrail.Block) != (tt.found != "[]") {
			t.Errorf("%s %s: got %+v, %v", tt.config, tt.text, v, err)
		}
	}
}

// With the action mask only what is found in is masked, beside what is de-identified.
func TestMasks(t *testing.T) {
	t.Parallel()
	base := servicetest.Start(t, serve(t, nil))
	for _, tt := range []struct {
		g    sdk.Guardrail
		more string
		want string
	}{
		{&google.Moderation{}, "", "[{1 [masked]  0 0}]"},
		{&google.Armor{}, template, "[{2 [masked]  0 0} {3 ask [PERSON]  0 0}]"},
	} {
		v, err := servicetest.Configured(t, tt.g, config(base, tt.more+`,"action":"mask"`)).Check(t.Context(), servicetest.Check(sdk.Before, "hello", "violent", "attack Bob", "ask Bob"))
		if err != nil || v.Action != guardrail.Rewrite || fmt.Sprint(v.Replacements) != tt.want || len(v.Findings) != 1 {
			t.Errorf("%T: got %+v, %v, want %s", tt.g, v, err, tt.want)
		}
	}
}

func TestArmor(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	base := servicetest.Start(t, serve(t, &key.PublicKey))
	account := fmt.Sprintf(`{"api_base":%q,"service_account":{"type":"service_account","client_email":"robot@p-1","private_key":%q,"token_uri":%q}%s}`, base, text, base+"/token", template)
	for _, c := range []string{config(base, template), account} {
		g := servicetest.Configured(t, &google.Armor{}, c)
		for _, hook := range []sdk.Hook{sdk.Before, sdk.After} {
			for text, want := range map[string]string{"hello": "pass []", "attack": "block [pi_and_jailbreak]", "ask Bob": "rewrite []", "attack Bob": "block [pi_and_jailbreak]"} {
				v, err := g.Check(t.Context(), servicetest.Check(hook, "first", text))
				if got := fmt.Sprintf("%v %v", v.Action, v.Findings); err != nil || got != want {
					t.Errorf("%s %q: got %s, %v, want %s", hook, text, got, err, want)
				}
				if v.Action == guardrail.Rewrite && v.Replacements[0] != (sdk.Replacement{Index: 1, Text: "ask [PERSON]"}) {
					t.Errorf("got %+v", v.Replacements)
				}
			}
		}
	}
	for _, bad := range []string{`,"project_id":"p-1","location":"../x","template_id":"t"`, ""} {
		if _, err := (&google.Armor{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config(base, bad))}); err == nil || !strings.Contains(err.Error(), "is not a name") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]servicetest.Case{
		"moderation": {
			Make: func() sdk.Guardrail { return &google.Moderation{} }, Config: func(base string) string { return config(base, "") },
			Empty: []string{`{"moderationCategories":[{"name":"Toxic"}]}`},
		},
		"armor": {
			Make: func() sdk.Guardrail { return &google.Armor{} }, Config: func(base string) string { return config(base, template) },
			Empty: []string{`{"sanitizationResult":{"filterMatchState":"NO_MATCH_FOUND"}}`, `{"sanitizationResult":{"filterMatchState":"NO_MATCH_FOUND","invocationResult":"PARTIAL"}}`},
		},
	} {
		c.Serve, c.Keyed = serve(t, nil), true
		t.Run(name, func(t *testing.T) { servicetest.Run(t, c) })
	}
}
