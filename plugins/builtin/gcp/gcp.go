// Package gcp is the callbacks that bring finished requests to Google Cloud: objects in Cloud Storage, and
// messages in Pub/Sub. Their requests are those of Google's documents of the JSON API of Cloud Storage
// (uploadType=media) and of projects.topics.publish.
package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/conclave-llm/conclave/plugins/builtin/sink"
)

// Account is the part of a configuration that says who sends: a service account, whose key is a JSON file of
// Google's. Without one nobody is named, as emulators want it, and endpoint says where that is.
type Account struct {
	ServiceAccount string `json:"service_account,omitempty"`      // the text of the file
	File           string `json:"service_account_file,omitempty"` // its path on each node
	Endpoint       string `json:"endpoint,omitempty"`             // default: Google's
}

// serviceKey is what of such a file is needed.
type serviceKey struct {
	Type     string `json:"type"`
	Email    string `json:"client_email"`
	Key      string `json:"private_key"`
	KeyID    string `json:"private_key_id"`
	TokenURI string `json:"token_uri"`
}

// read returns the account's key; nil: there is none.
func (a *Account) read() (*serviceKey, error) {
	text, field := []byte(a.ServiceAccount), "service_account"
	switch {
	case a.ServiceAccount != "" && a.File != "":
		return nil, errors.New("service_account, service_account_file: give one of them")
	case a.File != "":
		var err error
		field = "service_account_file"
		if text, err = os.ReadFile(a.File); err != nil {
			return nil, fmt.Errorf("service_account_file: %w", err)
		}
	case a.ServiceAccount == "" && a.Endpoint == "":
		return nil, errors.New("service_account or service_account_file: give the key of a service account")
	case a.ServiceAccount == "":
		return nil, nil //nolint:nilnil // an emulator asks for none
	}
	var k serviceKey
	if json.Unmarshal(text, &k) != nil || k.Email == "" || k.Key == "" || k.TokenURI == "" { // its error would tell of the key
		return nil, fmt.Errorf("%s: is not the JSON of a service account's key, with client_email, private_key and token_uri", field)
	}
	if _, err := sink.URL(field+": token_uri", k.TokenURI); err != nil {
		return nil, err
	}
	return &k, nil
}

// proof names the account in requests.
type proof struct{ tokens oauth2.TokenSource } // nil: nobody is named

// connect checks the account, and makes the client and the proof of who it is.
func (a *Account) connect(cfg sink.HTTP, usual, scope string) (*sink.Client, proof, error) {
	k, err := a.read()
	if err != nil {
		return nil, proof{}, err
	}
	if a.Endpoint == "" {
		a.Endpoint = usual
	}
	if _, err := sink.URL("endpoint", a.Endpoint); err != nil {
		return nil, proof{}, err
	}
	client, err := sink.NewClient(cfg, false)
	if err != nil || k == nil {
		return client, proof{}, err
	}
	j := &jwt.Config{Email: k.Email, PrivateKey: []byte(k.Key), PrivateKeyID: k.KeyID, TokenURL: k.TokenURI, Scopes: []string{scope}}
	return client, proof{j.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, client.HTTP()))}, nil
}

// sign implements sink.Request's Sign.
func (p proof) sign(r *http.Request, _ []byte) error {
	if p.tokens == nil {
		return nil
	}
	t, err := p.tokens.Token()
	if err != nil { // which may hold what was sent
		return errors.New("get a token of the service account: it was refused, or could not be asked for")
	}
	t.SetAuthHeader(r)
	return nil
}
