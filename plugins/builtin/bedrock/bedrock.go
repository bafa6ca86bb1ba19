// Package bedrock is the guardrail that asks a guardrail of Amazon Bedrock, through ApplyGuardrail.
package bedrock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/conclave-llm/conclave/plugins/builtin/service"
	"github.com/conclave-llm/conclave/plugins/builtin/verdict"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Config is the configuration of the guardrail. Its api_key is a key of Bedrock's; without one requests
// are signed with the access key.
type Config struct {
	service.Config
	verdict.Terms
	Identifier string `json:"guardrailIdentifier"`
	Version    string `json:"guardrailVersion,omitempty"` // default DRAFT
	Region     string `json:"aws_region_name,omitempty"`  // of the signature; default: that of api_base
	KeyID      string `json:"aws_access_key_id,omitempty"`
	Secret     string `json:"aws_secret_access_key,omitempty"` // a reference such as env://NAME
	Token      string `json:"aws_session_token,omitempty"`
}

// Bedrock is the guardrail.
type Bedrock struct {
	cfg    Config
	sender *service.Sender
	signer *v4.Signer
	now    func() time.Time
}

// New makes a guardrail that signs with the clock; nil: the time.
func New(now func() time.Time) *Bedrock {
	if now == nil {
		now = time.Now
	}
	return &Bedrock{now: now}
}

// Configure implements sdk.Guardrail.
func (g *Bedrock) Configure(_ context.Context, s sdk.GuardrailSettings) (sdk.GuardrailDescription, error) {
	cfg := Config{Version: "DRAFT"}
	err := verdict.Read(s.Config, &cfg)
	if err == nil {
		err = cfg.Validate("the text violates a policy")
	}
	if err == nil {
		g.sender, err = service.New(cfg.Config, "https://bedrock-runtime.us-east-1.amazonaws.com")
	}
	if err == nil {
		err = cfg.complete()
	}
	g.cfg, g.signer = cfg, v4.NewSigner()
	return service.Described(), err
}

func (c *Config) complete() error {
	if c.Identifier == "" {
		return errors.New("guardrailIdentifier: is missing")
	}
	if c.APIKey != "" {
		return nil
	}
	if c.KeyID == "" || c.Secret == "" {
		return errors.New("give api_key, or aws_access_key_id and aws_secret_access_key")
	}
	if c.Region == "" {
		u, err := url.Parse(c.APIBase)
		if err != nil {
			return err
		}
		parts := strings.Split(u.Hostname(), ".")
		if len(parts) < 3 || !strings.HasPrefix(parts[0], "bedrock-runtime") {
			return errors.New("aws_region_name: is missing, and api_base names no region")
		}
		c.Region = parts[1]
	}
	return nil
}

// sign signs a request as Amazon demands.
func (g *Bedrock) sign(r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: g.cfg.KeyID, SecretAccessKey: g.cfg.Secret, SessionToken: g.cfg.Token}
	return g.signer.SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), "bedrock", g.cfg.Region, g.now())
}

// The words of answers.
const (
	none       = "NONE"
	intervened = "GUARDRAIL_INTERVENED"
	anonymized = "ANONYMIZED"
	blocked    = "BLOCKED"
)

type answer struct {
	Action  string `json:"action"`
	Outputs []struct {
		Text string `json:"text"`
	} `json:"outputs"`
	Assessments []struct {
		Topic struct {
			Topics []hit `json:"topics"`
		} `json:"topicPolicy"`
		Content struct {
			Filters []hit `json:"filters"`
		} `json:"contentPolicy"`
		Word struct {
			Custom  []hit `json:"customWords"`
			Managed []hit `json:"managedWordLists"`
		} `json:"wordPolicy"`
		Sensitive struct {
			Entities []hit `json:"piiEntities"`
			Regexes  []hit `json:"regexes"`
		} `json:"sensitiveInformationPolicy"`
		Grounding struct {
			Filters []hit `json:"filters"`
		} `json:"contextualGroundingPolicy"`
	} `json:"assessments"`
}

// hit is what one part of a policy found.
type hit struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Action string `json:"action"`
}

// Check implements sdk.Guardrail. Each text is asked about alone, so that what it becomes is known.
func (g *Bedrock) Check(ctx context.Context, c *sdk.Check) (sdk.Verdict, error) {
	texts := g.cfg.Texts(c)
	var found service.Found
	var changed service.Rewritten
	err := service.Each(ctx, len(texts), func(ctx context.Context, n int) error {
		text := c.Texts[texts[n]].Text
		now, err := g.ask(ctx, c.Hook, text, &found)
		if err == nil && now != text {
			changed.Add(texts[n], now)
		}
		return err
	})
	if err != nil {
		return sdk.Verdict{}, err
	}
	return service.Decide(&g.cfg.Terms, &found, &changed), nil
}

// ask asks about one text, and returns what it becomes if nothing was found that blocks it.
func (g *Bedrock) ask(ctx context.Context, hook sdk.Hook, text string, found *service.Found) (string, error) {
	source := "INPUT"
	if hook != sdk.Before {
		source = "OUTPUT"
	}
	r := service.Request{
		Path:   fmt.Sprintf("/guardrail/%s/version/%s/apply", url.PathEscape(g.cfg.Identifier), url.PathEscape(g.cfg.Version)),
		Header: g.sender.Bearer(),
		Body:   map[string]any{"source": source, "content": []any{map[string]any{"text": map[string]string{"text": text}}}},
	}
	if g.cfg.APIKey == "" {
		r.Sign = g.sign
	}
	var out answer
	if err := g.sender.Post(ctx, r, &out); err != nil {
		return "", err
	}
	if out.Action == none {
		return text, nil
	}
	if out.Action != intervened {
		return "", service.ErrIncomplete
	}
	hits, stops := out.hits()
	if len(hits) > 0 && !stops && len(out.Outputs) == 1 {
		return out.Outputs[0].Text, nil
	}
	for _, name := range hits {
		found.Add(name, 0)
	}
	if len(hits) == 0 {
		found.Add("intervened", 0)
	}
	return text, nil
}

// hits names what was acted on; stops says that some of it was not merely masked.
func (a *answer) hits() (names []string, stops bool) {
	add := func(kind string, all []hit) {
		for _, h := range all {
			if h.Action != anonymized && h.Action != blocked {
				continue // it was only detected
			}
			stops = stops || h.Action == blocked
			name := h.Name
			if name == "" {
				name = h.Type
			}
			if name == "" {
				name = kind // the word itself is not told
			}
			names = append(names, name)
		}
	}
	for i := range a.Assessments {
		s := &a.Assessments[i]
		add("topic", s.Topic.Topics)
		add("content", s.Content.Filters)
		add("word", s.Word.Custom)
		add("word", s.Word.Managed)
		add("sensitive", s.Sensitive.Entities)
		add("sensitive", s.Sensitive.Regexes)
		add("grounding", s.Grounding.Filters)
	}
	return names, stops
}
