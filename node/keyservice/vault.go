package keyservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/secret"
)

// podAccount is the file that Kubernetes gives a pod for its account.
const podAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// vault is a key of Vault's Transit engine.
type vault struct {
	s     *Services
	base  string // of Vault's API, with its version
	mount string // of the engine
	name  string
}

func newVault(s *Services, u *url.URL, path string) (secret.Cover, bool) {
	mount, name, ok := strings.Cut(path, "/keys/")
	scheme := "https://"
	if u.Query().Get("tls") == "off" {
		scheme = "http://"
	}
	return &vault{s: s, base: scheme + u.Host + "/v1", mount: mount, name: name}, ok && u.Host != "" && name != ""
}

// Seal implements secret.Cover.
func (v *vault) Seal(ctx context.Context, plain []byte) (string, error) {
	var out struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	if err := v.call(ctx, "encrypt", map[string][]byte{"plaintext": plain}, &out); err != nil {
		return "", err
	}
	if !strings.HasPrefix(out.Data.Ciphertext, "vault:") {
		return "", errors.New("vault answers without a ciphertext")
	}
	return out.Data.Ciphertext, nil
}

// Open implements secret.Cover.
func (v *vault) Open(ctx context.Context, text string) ([]byte, error) {
	if !strings.HasPrefix(text, "vault:") {
		return nil, errors.New("it was not sealed by Vault's Transit")
	}
	var out struct {
		Data struct {
			Plaintext []byte `json:"plaintext"`
		} `json:"data"`
	}
	err := v.call(ctx, "decrypt", map[string]string{"ciphertext": text}, &out)
	return out.Data.Plaintext, err
}

func (v *vault) call(ctx context.Context, verb string, in, out any) error {
	h := http.Header{"X-Vault-Request": {"true"}}
	if ns := v.s.cfg.Env("VAULT_NAMESPACE"); ns != "" {
		h.Set("X-Vault-Namespace", ns)
	}
	token, err := v.token(ctx, h)
	if err != nil {
		return err
	}
	h.Set("X-Vault-Token", token)
	return v.s.call(ctx, provider.Auth(0), nil, v.base+"/"+v.mount+"/"+verb+"/"+url.PathEscape(v.name), h, in, out)
}

// login is a way to be given a token for what the node is.
type login struct {
	mount string // below auth, unless VAULT_AUTH_MOUNT names another
	proof map[string]string
}

// token is the token that the environment holds, or one that Vault gives for its AppRole or for its
// account in Kubernetes. A node asks so seldom that it logs in each time.
func (v *vault) token(ctx context.Context, h http.Header) (string, error) {
	token, err := v.text("VAULT_TOKEN")
	if token != "" || err != nil {
		return token, err
	}
	l, err := v.login()
	if err != nil {
		return "", err
	}
	if mount := v.s.cfg.Env("VAULT_AUTH_MOUNT"); mount != "" {
		l.mount = strings.Trim(mount, "/")
	}
	var out struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	if err := v.s.call(ctx, provider.Auth(0), nil, v.base+"/auth/"+l.mount+"/login", h.Clone(), l.proof, &out); err != nil {
		return "", fmt.Errorf("log in to Vault: %w", err)
	}
	if out.Auth.Token == "" {
		return "", errors.New("log in to Vault: it answers without a token")
	}
	return out.Auth.Token, nil
}

func (v *vault) login() (login, error) {
	if role := v.s.cfg.Env("VAULT_KUBERNETES_ROLE"); role != "" {
		jwt, err := readText(cmp.Or(v.s.cfg.Env("VAULT_KUBERNETES_TOKEN_FILE"), podAccount))
		return login{"kubernetes", map[string]string{"role": role, "jwt": jwt}}, err
	}
	role := v.s.cfg.Env("VAULT_ROLE_ID")
	if role == "" {
		return login{}, errors.New("none of VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID and VAULT_KUBERNETES_ROLE is set")
	}
	id, err := v.text("VAULT_SECRET_ID")
	proof := map[string]string{"role_id": role}
	if id != "" { // a role may be bound to addresses alone
		proof["secret_id"] = id
	}
	return login{"approle", proof}, err
}

// text is what a variable holds, or the file that the variable with _FILE names.
func (v *vault) text(name string) (string, error) {
	if t := v.s.cfg.Env(name); t != "" {
		return t, nil
	}
	if path := v.s.cfg.Env(name + "_FILE"); path != "" {
		return readText(path)
	}
	return "", nil
}

func readText(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read what logs in to Vault: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
