// Package google holds what asks Google Cloud: the guardrails of the text moderation of its Natural Language
// API and of Model Armor; the secret source that reads its Secret Manager; and the callbacks that bring finished
// requests to Cloud Storage, as objects, and to Pub/Sub, as messages. The requests of those are as Google's documents
// of the JSON API of Cloud Storage (uploadType=media) and of projects.topics.publish have them.
package google

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

const (
	scope    = "https://www.googleapis.com/auth/cloud-platform"
	maxChars = 10_000 // of a text that is asked about

	tokenTimeout = 10 * time.Second
)

// client is how both ask.
type client struct {
	sender *service.Sender
	tokens oauth2.TokenSource // nil: the key is in the query
}

func newClient(cfg service.Config, a *Account, usual string) (c client, err error) {
	k := a.ServiceAccount
	if k == nil {
		if cfg.APIKey == "" {
			return c, errors.New("give service_account or api_key")
		}
		c.sender, err = service.New(cfg, usual)
		return c, err
	}
	if err := k.check(); err != nil {
		return c, err
	}
	if c.sender, err = service.New(cfg, usual, k.TokenURI); err != nil {
		return c, err
	}
	h := *c.sender.HTTP()
	h.Timeout = tokenTimeout
	c.tokens = k.tokens(&h, scope)
	return c, nil
}

// post asks. A token is renewed in a time of its own, not the check's: other checks wait for it too.
func (c *client) post(ctx context.Context, path string, body, out any) error {
	r := service.Request{Path: path, Body: body}
	if c.tokens == nil {
		r.Query = url.Values{"key": {c.sender.Key().Reveal()}}
	} else {
		t, err := c.tokens.Token()
		if err != nil {
			return errors.New("get a token of the service account: it was refused, or could not be asked for")
		}
		r.Header = map[string]string{"Authorization": "Bearer " + t.AccessToken}
	}
	return c.sender.Post(ctx, r, out)
}

// categories are those of the text moderation.
var categories = []string{
	"Toxic", "Insult", "Profanity", "Derogatory", "Sexual", "Death, Harm & Tragedy", "Violent", "Firearms & Weapons", "Public Safety",
	"Health", "Religion & Belief", "Illicit Drugs", "War & Conflict", "Politics", "Finance", "Legal",
}

// ModerationConfig is the configuration of Moderation.
type ModerationConfig struct {
	service.Config
	Account
	verdict.Terms
	// Thresholds are the confidences from which on categories count; default 0.8.
	verdict.Thresholds
}

// Moderation is the guardrail of the text moderation.
type Moderation struct {
	client
	cfg ModerationConfig
}

const defThreshold = 0.8

// Configure implements sdk.Guardrail.
func (g *Moderation) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	var cfg ModerationConfig
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Terms.Validate("the text violates the policy on harmful content", scan.Mask)
	}
	if err == nil {
		err = cfg.Thresholds.Validate(categories)
	}
	if err == nil {
		g.client, err = newClient(cfg.Config, &cfg.Account, "https://language.googleapis.com")
	}
	g.cfg = cfg
	return service.Described(), err
}

// Check implements sdk.Guardrail.
func (g *Moderation) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	return service.Judge(ctx, &g.cfg.Terms, c, maxChars, g.ask)
}

func (g *Moderation) ask(ctx context.Context, text string, found *service.Found) error {
	var out struct {
		Categories *[]struct {
			Name       string   `json:"name"`
			Confidence *float64 `json:"confidence"`
		} `json:"moderationCategories"`
	}
	document := map[string]string{"type": "PLAIN_TEXT", "content": text}
	if err := g.post(ctx, "/v1/documents:moderateText", map[string]any{"document": document}, &out); err != nil {
		return err
	}
	if out.Categories == nil {
		return service.ErrIncomplete
	}
	for _, c := range *out.Categories {
		if c.Confidence == nil {
			return service.ErrIncomplete
		}
		if *c.Confidence >= g.cfg.Of(c.Name, defThreshold) {
			found.Add(c.Name, *c.Confidence)
		}
	}
	return nil
}

// names checks that the parts of a path are names.
func names(parts map[string]string) error {
	for _, field := range []string{"project_id", "location", "template_id"} {
		if v := parts[field]; v == "" || strings.ContainsFunc(v, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !slices.Contains([]rune("-_.:"), r)
		}) {
			return fmt.Errorf("%s: %q is not a name", field, v)
		}
	}
	return nil
}
