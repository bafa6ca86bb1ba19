package google

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

// Account is how a plugin proves who it is: by a service account.
type Account struct {
	ServiceAccount *ServiceKey `json:"service_account,omitempty"`
}

// ServiceKey is the key of a service account: the JSON that Google gives for it, as an object or as its text.
type ServiceKey struct {
	Email      string `json:"client_email"`
	PrivateKey string `json:"private_key"` // PEM; or a reference such as env://NAME
	KeyID      string `json:"private_key_id"`
	TokenURI   string `json:"token_uri"` // https://oauth2.googleapis.com/token
}

// UnmarshalJSON implements json.Unmarshaler. Its error does not repeat the key.
func (k *ServiceKey) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		b = []byte(text)
	}
	type bare ServiceKey
	if json.Unmarshal(b, (*bare)(k)) != nil {
		return errors.New("service_account: is not the JSON of a service account's key")
	}
	return nil
}

func (k *ServiceKey) check() error {
	if k.Email == "" || k.PrivateKey == "" || k.TokenURI == "" {
		return errors.New("service_account: client_email, private_key or token_uri is missing")
	}
	return nil
}

// tokens asks for tokens of the scope by the client.
func (k *ServiceKey) tokens(c *http.Client, scope string) oauth2.TokenSource {
	j := &jwt.Config{Email: k.Email, PrivateKey: []byte(k.PrivateKey), PrivateKeyID: k.KeyID, TokenURL: k.TokenURI, Scopes: []string{scope}}
	return j.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, c))
}

// Sender is the part of a callback's configuration that says who sends, and where to. Without an account nobody
// is named, as emulators want it.
type Sender struct {
	Account
	File     string `json:"service_account_file,omitempty"` // of the key, on each node
	Endpoint string `json:"endpoint,omitempty"`             // default: Google's
}

// check reads the account's key where it lies in a file, and fills in the endpoint.
func (s *Sender) check(usual string) error {
	switch {
	case s.ServiceAccount != nil && s.File != "":
		return errors.New("service_account, service_account_file: give one of them")
	case s.File != "":
		text, err := os.ReadFile(s.File)
		if err != nil {
			return fmt.Errorf("service_account_file: %w", err)
		}
		s.ServiceAccount = new(ServiceKey)
		if err := s.ServiceAccount.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("service_account_file: %w", err)
		}
	case s.ServiceAccount == nil && s.Endpoint == "":
		return errors.New("service_account or service_account_file: give the key of a service account")
	}
	if s.Endpoint == "" {
		s.Endpoint = usual
	}
	if _, err := sink.URL("endpoint", s.Endpoint); err != nil || s.ServiceAccount == nil {
		return err
	}
	if err := s.ServiceAccount.check(); err != nil {
		return err
	}
	_, err := sink.URL("service_account.token_uri", s.ServiceAccount.TokenURI)
	return err
}

// connect checks who sends, and makes the client and the proof of who it is.
func (s *Sender) connect(cfg sink.HTTP, usual, scope string) (*sink.Client, proof, error) {
	if err := s.check(usual); err != nil {
		return nil, proof{}, err
	}
	client, err := sink.NewClient(cfg, false)
	if err != nil || s.ServiceAccount == nil {
		return client, proof{}, err
	}
	return client, proof{s.ServiceAccount.tokens(client.HTTP(), scope)}, nil
}

// proof names the account in requests.
type proof struct{ tokens oauth2.TokenSource } // nil: nobody is named

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
