package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

// Bounds of a provider's list of models.
const (
	maxModelPages = 50
	maxModels     = 20_000
	maxModelPage  = 16 << 20
	listTimeout   = time.Minute
)

// Models asks a provider which models it has, over the connections of the attempts. Of a it takes
// the provider, the base, the account and the link. Every error of the provider's is an
// *llm.Error; provider.ErrNoList is one that has no such list.
func (c *Client) Models(ctx context.Context, a *Attempt) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	p := a.Provider
	var all []string
	page := ""
	for range maxModelPages {
		text, err := p.ModelsURL(a.Base, a.Account.Or().Options, page)
		if errors.Is(err, provider.ErrNoList) {
			return nil, err
		}
		if err != nil { // it has no address without more being said
			return nil, unaddressed(err.Error())
		}
		body, err := c.get(ctx, a, text)
		if err != nil {
			return nil, err
		}
		models, next, err := p.ReadModels(body)
		if err != nil {
			return nil, &llm.Error{Kind: llm.Upstream, Code: "invalid_response", Message: err.Error()}
		}
		all = append(all, models...)
		if next == "" || next == page || len(all) > maxModels {
			return all[:min(len(all), maxModels)], nil
		}
		page = next
	}
	return all, nil
}

// unaddressed is the error of a provider that cannot be asked for its models at all.
func unaddressed(why string) error {
	return &llm.Error{Kind: llm.Invalid, Code: "invalid_value", Param: "api_base", Message: "The provider cannot be asked for its models: " + why + "."}
}

// get reads one page.
func (c *Client) get(ctx context.Context, a *Attempt, text string) ([]byte, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, unaddressed("the provider's address is not an http or https URL")
	}
	p, account := a.Provider, a.Account
	h := a.headers()
	h.Del("Content-Type")
	h.Set("Accept", "application/json")
	if !p.Auth.InHeader() {
		return nil, fmt.Errorf("provider %s: %w", p.Name, provider.ErrNoList)
	}
	p.Auth.Set(h, account.Or().Key.Reveal())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header = h
	c.mu.Lock()
	t, err := c.transportsLocked(u, hostKey{link: a.Link})
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	cl := c.begin(ctx, a)
	defer cl.stop()
	res, err := t.full.RoundTrip(req.WithContext(cl.connecting())) //nolint:bodyclose // cl closes it
	if err != nil {
		return nil, cl.failure(err)
	}
	cl.timer.Stop()
	cl.body = res.Body
	defer cl.close()
	if res.StatusCode != http.StatusOK {
		body, _ := cl.readAll(res.ContentLength, maxErrorBody, true)
		return nil, p.Codec.Classify(c.cfg.Now(), res.StatusCode, res.Header, account.Hide(body))
	}
	return cl.readAll(res.ContentLength, maxModelPage, false)
}

// Probe asks whether the attempt's provider can be reached, by a request that uses no tokens: the
// first page of its list of models, or, where it has none, its address alone, without a credential.
// Any answer of the latter is a good one. Every error of the provider's is an *llm.Error.
func (c *Client) Probe(ctx context.Context, a *Attempt) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	if a.Plugin != "" {
		return c.probePlugin(ctx, a)
	}
	if a.Provider.ListsModels() && a.Provider.Auth.InHeader() {
		text, err := a.Provider.ModelsURL(a.Base, a.Account.Or().Options, "")
		if err == nil {
			_, err = c.get(ctx, a, text)
		}
		if !errors.Is(err, provider.ErrNoList) {
			return err
		}
	}
	return c.reach(ctx, a)
}

// reach asks the address of the provider for nothing.
func (c *Client) reach(ctx context.Context, a *Attempt) error {
	base := cmp.Or(a.Base, a.Provider.Base)
	if base == "" && a.Provider.BaseOf != nil {
		base = a.Provider.BaseOf(a.Account.Or().Options)
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("the provider's address is not an http or https URL")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.Scheme+"://"+u.Host+"/", nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	c.mu.Lock()
	t, err := c.transportsLocked(u, hostKey{link: a.Link})
	c.mu.Unlock()
	if err != nil {
		return err
	}
	cl := c.begin(ctx, a)
	defer cl.stop()
	res, err := t.full.RoundTrip(req.WithContext(cl.connecting())) //nolint:bodyclose // cl closes it
	if err != nil {
		return cl.failure(err)
	}
	cl.timer.Stop()
	cl.body = res.Body
	cl.close()
	return nil
}
