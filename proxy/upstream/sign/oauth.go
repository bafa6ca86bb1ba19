package sign

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ibmIdentity is where IBM's cloud gives tokens, unless the option watsonx_iam_url names another.
const ibmIdentity = "https://iam.cloud.ibm.com/identity/token"

// bought is a bearer's token that is bought with the account's secrets, or what takes its place.
type bought struct {
	client *http.Client
	now    func() time.Time
	vendor string
	tokens *keeper[string]
	// proof says what is sent of an account: a header, or the order of a token for it.
	proof func(a *Account, r *Request) (header string, o *order, err error)
}

// order is how a token is asked for.
type order struct {
	address          string
	form             url.Values
	user, passphrase string      // of basic authentication; "": none
	header           http.Header // further ones; nil: none
}

func newBought(cfg Config, vendor string, proof func(*Account, *Request) (string, *order, error)) *bought {
	return &bought{client: cfg.Client, now: cfg.Now, vendor: vendor, tokens: newKeeper[string](cfg.Now), proof: proof}
}

// sign implements method.
func (b *bought) sign(ctx context.Context, a *Account, r *Request) error {
	header, o, err := b.proof(a, r)
	if err != nil {
		return err
	}
	if o != nil {
		token, err := b.tokens.get(ctx, a, func(ctx context.Context) (string, time.Time, error) { return b.buy(ctx, o) })
		if err != nil {
			return err
		}
		header = "Bearer " + token
	}
	if header != "" {
		r.Header["Authorization"] = []string{header}
	}
	return nil
}

// buy asks for a token. What the service says about a refusal may repeat the secret: its code is
// enough.
func (b *bought) buy(ctx context.Context, o *order) (string, time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.address, strings.NewReader(o.form.Encode()))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask %s for a token: %w", b.vendor, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	maps.Copy(req.Header, o.header)
	if o.user != "" {
		req.SetBasicAuth(url.QueryEscape(o.user), url.QueryEscape(o.passphrase)) // as RFC 6749, section 2.3.1, says
	}
	asked := b.now()
	status, body, err := do(b.client, req)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask %s for a token: %w", b.vendor, err)
	}
	var got struct {
		Token   string          `json:"access_token"`
		Expires json.RawMessage `json:"expires_in"` // a number, or one in a string
		Error   string          `json:"error"`
		Code    string          `json:"errorCode"`  // of IBM
		Until   int64           `json:"expires_at"` // of Sber: milliseconds since 1970
	}
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK || got.Token == "" {
		return "", time.Time{}, fmt.Errorf("%s refused a token: %d %s%s", b.vendor, status, got.Error, got.Code)
	}
	if got.Expires == nil && got.Until > 0 {
		return got.Token, time.UnixMilli(got.Until), nil
	}
	seconds, err := strconv.Atoi(strings.Trim(string(got.Expires), `"`))
	if err != nil || seconds < 0 {
		return "", time.Time{}, fmt.Errorf("%s did not say how long its token is good", b.vendor)
	}
	return got.Token, asked.Add(time.Duration(seconds) * time.Second), nil
}

// ibm sends the secret watsonx_token as it is; or the secret watsonx_zenapikey, which IBM's software
// in one's own cluster takes, for the user of the option username; or a token for the key.
func ibm(a *Account, _ *Request) (string, *order, error) {
	if token := a.Secrets["watsonx_token"].Reveal(); token != "" {
		return "Bearer " + token, nil, nil
	}
	if zen := a.Secrets["watsonx_zenapikey"].Reveal(); zen != "" {
		if user := a.Options["username"]; user != "" {
			zen = base64.StdEncoding.EncodeToString([]byte(user + ":" + zen))
		}
		return "ZenApiKey " + zen, nil, nil
	}
	if a.Key.IsZero() {
		return "", nil, errors.New("the deployment has neither api_key, watsonx_token nor watsonx_zenapikey")
	}
	address := a.Options["watsonx_iam_url"]
	if address == "" {
		address = ibmIdentity
	}
	return "", &order{address: address, form: url.Values{"grant_type": {"urn:ibm:params:oauth:grant-type:apikey"}, "apikey": {a.Key.Reveal()}}}, nil
}

// The service of tokens of GigaChat, and whom they are for, unless the options gigachat_auth_url and
// gigachat_scope name others.
const (
	gigachatOAuth = "https://ngw.devices.sberbank.ru:9443/api/v2/oauth"
	gigachatScope = "GIGACHAT_API_PERS"
)

// gigachat sends the secret gigachat_access_token as it is; or a token for the key, which is Sber's
// authorization key: a client's id and its secret in base64.
func gigachat(a *Account, _ *Request) (string, *order, error) {
	if token := a.Secrets["gigachat_access_token"].Reveal(); token != "" {
		return "Bearer " + token, nil, nil
	}
	if a.Key.IsZero() {
		return "", nil, errors.New("the deployment has neither api_key nor gigachat_access_token")
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // it never fails
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	return "", &order{
		address: cmp.Or(a.Options["gigachat_auth_url"], gigachatOAuth), form: url.Values{"scope": {cmp.Or(a.Options["gigachat_scope"], gigachatScope)}},
		header: http.Header{
			"Authorization": {"Basic " + a.Key.Reveal()},
			"Rquid":         {fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])},
		},
	}, nil
}

// databricks sends the key as it is, which is a personal token; or a token for the service principal
// client_id with the secret client_secret, of the workspace that is asked.
func databricks(a *Account, r *Request) (string, *order, error) {
	if !a.Key.IsZero() {
		return "Bearer " + a.Key.Reveal(), nil, nil
	}
	id, passphrase := a.option("client_id"), a.Secrets["client_secret"].Reveal()
	if id == "" || passphrase == "" {
		return "", nil, errors.New("the deployment has neither api_key nor client_id and client_secret")
	}
	return "", &order{
		address: r.URL.Scheme + "://" + r.URL.Host + "/oidc/v1/token", user: id, passphrase: passphrase,
		form: url.Values{"grant_type": {"client_credentials"}, "scope": {"all-apis"}},
	}, nil
}

// sap sends a token for client_id with the secret client_secret, of the service of tokens that the
// option sap_auth_url names, and the group of resources that the option resource_group names.
func sap(a *Account, r *Request) (string, *order, error) {
	address, id, passphrase := a.Options["sap_auth_url"], a.option("client_id"), a.Secrets["client_secret"].Reveal()
	if address == "" || id == "" || passphrase == "" {
		return "", nil, errors.New("the deployment needs the options sap_auth_url and client_id, and the secret client_secret")
	}
	group := a.Options["resource_group"]
	if group == "" {
		group = "default"
	}
	r.Header["Ai-Resource-Group"] = []string{group}
	return "", &order{
		address: strings.TrimSuffix(strings.TrimRight(address, "/"), "/oauth/token") + "/oauth/token", user: id, passphrase: passphrase,
		form: url.Values{"grant_type": {"client_credentials"}},
	}, nil
}
