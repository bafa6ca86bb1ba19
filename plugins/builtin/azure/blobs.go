// Package azure is the callback that writes finished requests as blobs of Azure Storage, and the secret source
// that reads the secrets of Key Vault. The requests of the first are those of Microsoft's documents of Put Blob and
// of authorization with a shared key; they are tried with Microsoft's emulator in test/counterparts.
package azure

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/sink"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// version is the version of the service's API.
const version = "2021-12-02"

// storageScope is what an application asks tokens for.
const storageScope = "https://storage.azure.com/.default"

// BlobsConfig configures Blobs. One of account_key, sas and an application of Entra's proves who sends.
type BlobsConfig struct {
	AccountName string `json:"account"`
	Container   string `json:"container"`
	Endpoint    string `json:"endpoint,omitempty"` // default https://ACCOUNT.blob.core.windows.net

	AccountKey string `json:"account_key,omitempty"` // in base64, as Azure gives it
	SAS        string `json:"sas,omitempty"`         // a shared access signature: the query of a URL

	App
	sink.Objects
	sink.HTTP
}

// Blobs writes block blobs of JSON lines, or one of JSON a request.
type Blobs struct {
	cfg    BlobsConfig
	client *sink.Client
	key    []byte  // of the account
	tokens *tokens // of the application
	now    func() time.Time
}

// Configure implements sdk.Callback.
func (b *Blobs) Configure(_ context.Context, set sdk.CallbackSettings) (sdk.CallbackDescription, error) {
	cfg := BlobsConfig{}
	if err := sink.ReadConfig(set.Config, &cfg); err != nil {
		return sdk.CallbackDescription{}, err
	}
	if err := cfg.check(); err != nil {
		return sdk.CallbackDescription{}, err
	}
	client, err := sink.NewClient(cfg.HTTP, false)
	if err != nil {
		return sdk.CallbackDescription{}, err
	}
	b.cfg, b.client, b.key, b.tokens, b.now = cfg, client, nil, nil, time.Now
	switch {
	case cfg.AccountKey != "":
		if b.key, err = base64.StdEncoding.DecodeString(cfg.AccountKey); err != nil {
			return sdk.CallbackDescription{}, errors.New("account_key: is not in base64")
		}
	case cfg.proves():
		b.tokens = &tokens{app: &b.cfg.App, scope: storageScope, client: client.HTTP(), now: time.Now}
	}
	return sdk.CallbackDescription{Version: scan.Version}, nil
}

func (c *BlobsConfig) check() error {
	if c.AccountName == "" || c.Container == "" || strings.ContainsAny(c.AccountName+c.Container, "/?# ") {
		return errors.New("account, container: give the names of a storage account and of a container of it")
	}
	ways := 0
	for _, way := range []bool{c.AccountKey != "", c.SAS != "", c.proves()} {
		if way {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("account_key, sas, client_secret: give one of them")
	}
	if c.proves() {
		if err := c.App.check(); err != nil {
			return err
		}
		if _, err := sink.URL("authority_host", c.Authority); err != nil {
			return err
		}
	}
	if _, err := url.ParseQuery(strings.TrimPrefix(c.SAS, "?")); err != nil {
		return errors.New("sas: is not the query of a URL")
	}
	if c.Endpoint == "" {
		c.Endpoint = "https://" + c.AccountName + ".blob.core.windows.net"
	}
	_, err := sink.URL("endpoint", c.Endpoint)
	return err
}

// Deliver implements sdk.Callback.
func (b *Blobs) Deliver(ctx context.Context, records []sdk.Record) (int, error) {
	return sink.Deliver(ctx, records, b.cfg.Batch(), sink.Post(b.client, func(records []sdk.Record) (*sink.Request, error) {
		name, body, err := b.cfg.Object(records)
		return b.put(name, body), err
	}))
}

// DeliverAudit implements sdk.CallbackAuditor.
func (b *Blobs) DeliverAudit(ctx context.Context, entries []sdk.AuditEntry) (int, error) {
	if len(entries) == 0 {
		return 0, nil
	}
	name, body, err := b.cfg.Audit(entries)
	if err != nil {
		return 0, err
	}
	if _, err := b.client.Do(ctx, b.put(name, body)); err != nil {
		return 0, err
	}
	return len(entries), nil
}

func (b *Blobs) put(name string, body []byte) *sink.Request {
	to := strings.TrimSuffix(b.cfg.Endpoint, "/") + "/" + b.cfg.Container + "/" + (&url.URL{Path: name}).EscapedPath()
	if b.cfg.SAS != "" {
		to += "?" + strings.TrimPrefix(b.cfg.SAS, "?")
	}
	return &sink.Request{
		Method: http.MethodPut, URL: to, Body: body, Sign: b.sign, Passes: blobPasses,
		Header: http.Header{"Content-Type": {sink.ObjectType}, "X-Ms-Blob-Type": {"BlockBlob"}, "X-Ms-Version": {version}},
	}
}

// blobErrors are the codes of errors with status 400 that are about a blob. Others, such as AccountRequiresHttps,
// InvalidAuthenticationInfo and Md5Mismatch, are about credentials, settings or the way there.
var blobErrors = []string{"InvalidBlobOrBlock", "InvalidInput", "InvalidResourceName", "InvalidUri", "OutOfRangeInput", "RequestBodyTooLarge"}

// blobPasses says that an error is not about the blob. One without a code is.
func blobPasses(answer []byte) bool {
	var e struct{ Code string }
	_ = xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(answer, []byte("\xEF\xBB\xBF")))).Decode(&e)
	return e.Code != "" && !slices.Contains(blobErrors, e.Code)
}

// sign implements sink.Request's Sign. A shared access signature stands in the URL.
func (b *Blobs) sign(r *http.Request, body []byte) error {
	switch {
	case b.key != nil:
		r.Header.Set("X-Ms-Date", b.now().UTC().Format(http.TimeFormat))
		mac := hmac.New(sha256.New, b.key)
		mac.Write([]byte(b.signed(r, len(body))))
		r.Header.Set("Authorization", "SharedKey "+b.cfg.AccountName+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	case b.tokens != nil:
		token, err := b.tokens.bearer(r.Context())
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// signed is what a shared key signs of a request without a query.
func (b *Blobs) signed(r *http.Request, length int) string {
	size := ""
	if length > 0 {
		size = strconv.Itoa(length)
	}
	var own []string
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			own = append(own, name+":"+strings.Join(values, ",")+"\n")
		}
	}
	slices.Sort(own)
	return fmt.Sprintf("%s\n%s\n\n%s\n\n%s\n\n\n\n\n\n\n%s/%s%s",
		r.Method, r.Header.Get("Content-Encoding"), size, r.Header.Get("Content-Type"), strings.Join(own, ""), b.cfg.AccountName, r.URL.EscapedPath())
}
