package rotation

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

// LinkPath is where links to new secrets begin; the key's id and ?t= follow.
const LinkPath = "/key-rotation/"

// linkLife is how long a link opens. Then another is sent, and the new secret stays the same.
const linkLife = 24 * time.Hour

// Letter is a mail to the owner of a key.
type Letter struct{ ID, To, Subject, Text string }

// mail sends the owner a link, unless he has one that opens.
func (r *Rotation) mail(ctx context.Context, k *resource.Key) error {
	now := resource.At(r.cfg.Now())
	if sent := k.Next.SentAt; sent != 0 && now < sent+resource.Time(linkLife) {
		return errWaits
	}
	base := r.cfg.State.Catalog().Settings().PublicURL
	if base == "" {
		return errors.New("the setting public_url is missing, where the link leads to")
	}
	token, err := r.token(k.ID, k.Next.Hash, now)
	if err != nil {
		return err
	}
	err = r.cfg.Mail(ctx, Letter{
		ID: "rot_" + k.Next.Hash.String()[:20], To: k.Rotation.Email, Subject: "[conclave] new secret of key " + called(k),
		Text: fmt.Sprintf("The key %s has a new secret. Open this link to see it, once, within %d hours:\n\n%s%s%s?t=%s\n\nUntil then the old secret stays valid. If you did not expect this, tell your administrator.\n",
			called(k), int(linkLife.Hours()), base, LinkPath, k.ID, token),
	})
	if err != nil {
		return fmt.Errorf("send link: %w", err)
	}
	next, n := *k, *k.Next
	n.SentAt = now
	next.Next = &n
	if _, err := r.commit(ctx, k, &next, r.actor("")); err != nil {
		return err // it is sent again, and this link opens nothing
	}
	return errWaits
}

// called is what the owner calls the key.
func called(k *resource.Key) string {
	if k.Name != "" {
		return k.Name
	}
	return k.ID
}

// token is what nobody without the cluster's keys can make. It belongs to one secret, sent at one time.
func (r *Rotation) token(id string, staged resource.Hash, sent resource.Time) (string, error) {
	if r.cfg.Derive == nil {
		return "", errors.New("this node makes no links")
	}
	b, err := r.cfg.Derive("rotation-link", id, staged.String(), strconv.FormatInt(int64(sent), 10))
	if err != nil {
		return "", fmt.Errorf("make link: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// opens finds the key whose new secret a link shows.
func (r *Rotation) opens(id, token string) (*resource.Key, bool) {
	k, ok := r.cfg.State.Key(id)
	now := resource.At(r.cfg.Now())
	if !ok || k.Next == nil || k.Next.SentAt == 0 || k.Rotation == nil || k.Rotation.Deliver != resource.DeliverEmail ||
		k.Blocked || k.ExpiredAt(now) || now >= k.Next.SentAt+resource.Time(linkLife) {
		return nil, false
	}
	want, err := r.token(id, k.Next.Hash, k.Next.SentAt)
	return k, err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(token)) == 1
}

// linkPage is what a link shows: a question first, for programs that look into mails open links too.
var linkPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Conclave</title></head><body>
{{if .Secret}}<h1>New secret of key {{.Name}}</h1><p>Copy it now: it is not shown again.</p><p><code>{{.Secret}}</code></p>
{{else if .Token}}<h1>New secret of key {{.Name}}</h1><p>It is shown once. From then on the old one ends{{if .Grace}} after {{.Grace}}{{end}}.</p>
<form method="post"><input type="hidden" name="t" value="{{.Token}}"><button>Show the secret</button></form>
{{else}}<h1>This link opens nothing</h1><p>It was used, or its time is over, or it is not whole. Until a new secret is fetched the old one stays valid, and another link is sent.</p>{{end}}
</body></html>
`))

// ServeHTTP serves the links, on any node.
func (r *Rotation) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	id, token := strings.TrimPrefix(req.URL.Path, LinkPath), req.URL.Query().Get("t")
	if req.Method == http.MethodPost {
		req.Body = http.MaxBytesReader(w, req.Body, 4096)
		token = req.PostFormValue("t")
	}
	var show struct{ Name, Token, Secret, Grace string }
	k, ok := r.opens(id, token)
	if !ok && r.cfg.Fresh != nil && r.cfg.Fresh(req.Context()) == nil { // the link may be newer than this node's state
		k, ok = r.opens(id, token)
	}
	status := http.StatusNotFound
	if ok {
		status, show.Name, show.Token, show.Grace = http.StatusOK, called(k), token, k.Rotation.Grace
	}
	if ok && req.Method == http.MethodPost {
		secret, err := r.fetched(req.Context(), k)
		switch {
		case err == nil:
			show.Secret = secret
		case errors.Is(err, resource.ErrNotFound): // somebody was faster
			status, show.Token = http.StatusNotFound, ""
		default:
			r.cfg.Logger.Error("new secret of a key is not shown", "key_id", k.ID, "error", err)
			status = http.StatusServiceUnavailable
		}
	}
	w.WriteHeader(status)
	if err := linkPage.Execute(w, show); err != nil {
		r.cfg.Logger.Debug("page of a link is not written", "error", err)
	}
}

// fetched puts the new secret in the place of the old one, once, and only then gives it.
func (r *Rotation) fetched(ctx context.Context, k *resource.Key) (string, error) {
	secret, err := r.cfg.Open(k.Next.Sealed, "key", k.ID, "next")
	if err != nil {
		return "", fmt.Errorf("open new secret: %w", err)
	}
	if _, err := r.finish(ctx, k.ID, k.Next.Hash, r.actor("the owner, by a link")); err != nil {
		return "", err
	}
	r.metrics.turns.WithLabelValues("delivered").Inc()
	r.cfg.Logger.Info("new secret of a key was fetched", "key_id", k.ID, "key_name", k.Name, "by", "link")
	return secret, nil
}

// keep writes the new secret into the secret store.
func (r *Rotation) keep(ctx context.Context, k *resource.Key) error {
	secret, err := r.cfg.Open(k.Next.Sealed, "key", k.ID, "next")
	if err != nil {
		return fmt.Errorf("open new secret: %w", err)
	}
	return r.cfg.Keep(ctx, k, secret)
}
