package sign_test

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
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// seller is a service of tokens that wants what its vendor's documents say.
func seller(t *testing.T, asked *atomic.Int64, check func(r *http.Request) bool) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		_ = r.ParseForm()
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || !check(r) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errorCode":"BXNIM0415E","errorMessage":"Provided API key hush could not be found.","error":"invalid_client"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"token%d","refresh_token":"not_supported","token_type":"Bearer","expires_in":3600,"expiration":1473188353}`, n)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// prove signs a request for the address and returns its headers.
func prove(t *testing.T, s *sign.Signer, auth provider.Auth, a *sign.Account, address string) (http.Header, error) {
	t.Helper()
	r := request(t, address)
	err := s.Sign(t.Context(), auth, a, r)
	return r.Header, err
}

// TestBought: tokens are bought with what the vendor wants to see, kept, and renewed; a refusal tells
// its code and no secret.
func TestBought(t *testing.T) {
	t.Parallel()
	basic := func(r *http.Request) bool {
		user, pass, ok := r.BasicAuth()
		return ok && user == "id" && pass == "hush" && r.Form.Get("grant_type") == "client_credentials"
	}
	for _, tt := range []struct {
		name    string
		auth    provider.Auth
		check   func(r *http.Request) bool
		account func(srv string) *sign.Account
		wrong   func(a *sign.Account) *sign.Account
	}{
		{
			"ibm", provider.IBMToken,
			func(r *http.Request) bool {
				return r.Form.Get("grant_type") == "urn:ibm:params:oauth:grant-type:apikey" && r.Form.Get("apikey") == "hush" && r.URL.Path == "/identity/token"
			},
			func(srv string) *sign.Account {
				return &sign.Account{Key: secret.New("hush"), Options: map[string]string{"watsonx_iam_url": srv + "/identity/token"}}
			},
			func(a *sign.Account) *sign.Account {
				return &sign.Account{Key: secret.New("other"), Options: a.Options}
			},
		},
		{
			"databricks", provider.DatabricksToken,
			func(r *http.Request) bool {
				return basic(r) && r.Form.Get("scope") == "all-apis" && r.URL.Path == "/oidc/v1/token"
			},
			func(string) *sign.Account {
				return &sign.Account{Options: map[string]string{"client_id": "id"}, Secrets: map[string]secret.Text{"client_secret": secret.New("hush")}}
			},
			func(a *sign.Account) *sign.Account {
				return &sign.Account{Options: a.Options, Secrets: map[string]secret.Text{"client_secret": secret.New("other")}}
			},
		},
		{
			"graph", provider.GraphToken,
			func(r *http.Request) bool {
				f := r.Form
				return r.URL.Path == "/t/oauth2/v2.0/token" && f.Get("grant_type") == "refresh_token" && f.Get("client_id") == "id" && f.Get("client_secret") == "whist" && f.Get("refresh_token") == "hush" && f.Get("scope") == "https://graph.microsoft.com/.default"
			},
			func(srv string) *sign.Account {
				return &sign.Account{
					Options: map[string]string{"tenant_id": "t", "client_id": "id", "azure_authority_host": srv + "/"},
					Secrets: map[string]secret.Text{"entra_refresh_token": secret.New("hush"), "client_secret": secret.New("whist")},
				}
			},
			func(a *sign.Account) *sign.Account {
				return &sign.Account{Options: a.Options, Secrets: map[string]secret.Text{"entra_refresh_token": secret.New("other")}}
			},
		},
		{
			"sap", provider.SAPToken,
			func(r *http.Request) bool { return basic(r) && r.URL.Path == "/oauth/token" },
			func(srv string) *sign.Account {
				return &sign.Account{Options: map[string]string{"client_id": "id", "sap_auth_url": srv}, Secrets: map[string]secret.Text{"client_secret": secret.New("hush")}}
			},
			func(a *sign.Account) *sign.Account {
				return &sign.Account{Options: a.Options, Secrets: map[string]secret.Text{"client_secret": secret.New("other")}}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			c, srv := newClock(), seller(t, &asked, tt.check)
			s := sign.New(sign.Config{Now: c.now})
			a := tt.account(srv.URL)
			for i, want := range []string{"Bearer token1", "Bearer token1", "Bearer token2"} {
				if i == 2 {
					c.advance(2 * time.Hour)
				}
				h, err := prove(t, s, tt.auth, a, srv.URL+"/serving-endpoints/x")
				if err != nil || h.Get("Authorization") != want {
					t.Errorf("got %q, %v, want %q", h.Get("Authorization"), err, want)
				}
			}
			_, err := prove(t, s, tt.auth, tt.wrong(a), srv.URL+"/serving-endpoints/x")
			if err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), "400") {
				t.Errorf("got %v", err)
			}
			if _, err := prove(t, s, tt.auth, new(sign.Account), srv.URL); err == nil {
				t.Error("an account without anything is signed for")
			}
		})
	}
}

// TestBought_Ready: what needs no token is sent as it is.
func TestBought_Ready(t *testing.T) {
	t.Parallel()
	s := sign.New(sign.Config{})
	for _, tt := range []struct {
		auth    provider.Auth
		account *sign.Account
		want    string
	}{
		{provider.IBMToken, &sign.Account{Secrets: map[string]secret.Text{"watsonx_token": secret.New("t")}}, "Bearer t"},
		{provider.IBMToken, &sign.Account{Secrets: map[string]secret.Text{"watsonx_zenapikey": secret.New("k")}, Options: map[string]string{"username": "u"}}, "ZenApiKey " + base64.StdEncoding.EncodeToString([]byte("u:k"))},
		{provider.DatabricksToken, &sign.Account{Key: secret.New("dapi1")}, "Bearer dapi1"},
		{provider.GraphToken, &sign.Account{Key: secret.New("eyJ")}, "Bearer eyJ"},
		{provider.SnowflakeToken, &sign.Account{Key: secret.New("jwt")}, "Bearer jwt"},
		{provider.SnowflakeToken, &sign.Account{Key: secret.New("pat/p")}, "Bearer p"},
	} {
		h, err := prove(t, s, tt.auth, tt.account, "https://host.example/x")
		if err != nil || h.Get("Authorization") != tt.want {
			t.Errorf("got %q, %v, want %q", h.Get("Authorization"), err, tt.want)
		}
	}
}

// TestSnowflake: a token is made of a pair of keys as Snowflake checks it.
func TestSnowflake(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := x509.MarshalPKCS8PrivateKey(key)
	c := newClock()
	s := sign.New(sign.Config{Now: c.now})
	a := &sign.Account{
		Options: map[string]string{"account": "acme-x.eu", "snowflake_user": "bot"},
		Secrets: map[string]secret.Text{"snowflake_private_key": secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))},
	}
	h, err := prove(t, s, provider.SnowflakeToken, a, "https://acme.snowflakecomputing.com/x")
	if err != nil || h.Get("X-Snowflake-Authorization-Token-Type") != "KEYPAIR_JWT" {
		t.Fatalf("got %v, %v", h, err)
	}
	parts := strings.Split(strings.TrimPrefix(h.Get("Authorization"), "Bearer "), ".")
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
		t.Error(err)
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Iss, Sub string
		Iat, Exp int64
	}
	public, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	print := sha256.Sum256(public)
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Sub != "ACME-X.BOT" || claims.Exp-claims.Iat > 3600 || claims.Iat != c.now().Unix() ||
		claims.Iss != "ACME-X.BOT.SHA256:"+base64.StdEncoding.EncodeToString(print[:]) {
		t.Errorf("got %s, %v", payload, err)
	}
	first := h.Get("Authorization")
	c.advance(49 * time.Minute)
	if _, err = prove(t, s, provider.SnowflakeToken, a, "https://acme.snowflakecomputing.com/x"); err != nil {
		t.Error(err)
	}
	c.advance(2 * time.Minute)
	if h, err = prove(t, s, provider.SnowflakeToken, a, "https://acme.snowflakecomputing.com/x"); err != nil || h.Get("Authorization") == first {
		t.Errorf("the old token is sent still: %v", err)
	}
	for _, wrong := range []string{"", "x", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))} {
		b := &sign.Account{Options: a.Options, Secrets: map[string]secret.Text{"snowflake_private_key": secret.New(wrong)}}
		if _, err := prove(t, s, provider.SnowflakeToken, b, "https://h/x"); err == nil {
			t.Errorf("%q is taken for a key", wrong)
		}
	}
}
