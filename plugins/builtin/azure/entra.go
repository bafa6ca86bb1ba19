package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/secretstore"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	entra     = "Microsoft's Entra"
	authority = "https://login.microsoftonline.com"
	early     = time.Minute // before a token expires, another is asked for

	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// App is the part of a configuration that says which application of Entra's asks.
type App struct {
	TenantID     string `json:"tenant_id,omitempty"`
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
	TokenFile    string `json:"federated_token_file,omitempty"` // of a workload identity, in the place of client_secret
	Authority    string `json:"authority_host,omitempty"`       // URL; default that of Azure's public cloud
}

// proves says whether there is something by which the application proves who it is.
func (a *App) proves() bool { return a.ClientSecret != "" || a.TokenFile != "" }

// check fills in where tokens are asked for.
func (a *App) check() error {
	if a.TenantID == "" || a.ClientID == "" || (a.ClientSecret == "") == (a.TokenFile == "") {
		return errors.New("tenant_id, client_id: give both, and one of client_secret and federated_token_file")
	}
	a.Authority = strings.TrimRight(cmp.Or(a.Authority, authority), "/")
	return nil
}

// tokens are the application's, for one scope. They may be asked for concurrently.
type tokens struct {
	app    *App
	scope  string
	client *http.Client
	now    func() time.Time

	mu    sync.Mutex // guards what follows
	token string
	until time.Time
}

// drop has the next request ask for another token.
func (t *tokens) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Time{}
}

// bearer is a token that lasts, asked for when there is none. Its error is an *sdk.SecretError, which repeats
// nothing of what was sent.
func (t *tokens) bearer(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock() // who comes meanwhile waits for the same token
	if t.now().Before(t.until) {
		return t.token, nil
	}
	form, err := t.form()
	if err != nil {
		return "", err
	}
	asked := t.now()
	status, answer, err := secretstore.Do(ctx, t.client, entra, &secretstore.Request{
		Method: http.MethodPost, URL: t.app.Authority + "/" + url.PathEscape(t.app.TenantID) + "/oauth2/v2.0/token", Body: []byte(form.Encode()),
		Header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
	if err != nil {
		return "", err
	}
	if status < http.StatusInternalServerError && status != http.StatusOK && status != http.StatusTooManyRequests {
		return "", &sdk.SecretError{Reason: sdk.SecretDenied, Text: fmt.Sprintf("%s refuses a token: it answers %d", entra, status)}
	}
	if status != http.StatusOK {
		return "", secretstore.Refused(entra, status)
	}
	var out struct {
		Token   string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
	}
	if err := secretstore.ReadJSON(entra, answer, &out); err != nil {
		return "", err
	}
	t.token, t.until = out.Token, asked.Add(time.Duration(out.Seconds)*time.Second-early)
	return t.token, nil
}

// form is what the application asks with.
func (t *tokens) form() (url.Values, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {t.app.ClientID}, "scope": {t.scope}}
	if t.app.ClientSecret != "" {
		form.Set("client_secret", t.app.ClientSecret)
		return form, nil
	}
	text, err := os.ReadFile(t.app.TokenFile)
	if err != nil {
		return nil, &sdk.SecretError{Reason: sdk.SecretDenied, Text: fmt.Sprintf("read the workload's token: %v", err)}
	}
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", strings.TrimSpace(string(text)))
	return form, nil
}
