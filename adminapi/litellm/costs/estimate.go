package costs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/fields"
	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/tokenize"
	"github.com/conclave-llm/conclave/pricing"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
)

// maxRequests bounds a number of requests, and maxTokens one of tokens.
const (
	maxRequests = 1_000_000_000_000
	maxTokens   = 1 << 40
)

// priced is a model at its price.
type priced struct {
	provider string
	model    string // as the provider calls it
	price    *resource.Price
	adjust   resource.Adjustment
}

// bill is what usage costs at the price with discount and margin.
func (p *priced) bill(u llm.Usage) resource.Money { return pricing.Bill(p.price, p.adjust, u) }

// makers are the providers that a model's name alone is looked for at, in order.
var makers = []string{"openai", "anthropic", "gemini", "vertex_ai", "bedrock", "mistral", "cohere", "deepseek", "xai", "azure", "groq"}

// find finds the price of what a caller calls a model: one of the cluster's that he may use, else
// a name in the price table, with or without its provider.
func (a *api) find(by records.Caller, name string) (*priced, error) {
	if name == "" {
		return nil, wire.Invalid("model", "is missing")
	}
	cat, book := a.cfg.State.Catalog(), a.cfg.Prices.Book()
	p, found := a.deployed(by, name)
	if !found {
		p, found = listed(book, name)
	}
	switch {
	case !found:
		return nil, fmt.Errorf("model %q: %w", name, resource.ErrNotFound)
	case p.price == nil:
		return nil, wire.Invalid("model", name+" has no known price; give its deployment one, or import prices")
	}
	p.adjust = cat.Settings().PriceAdjustments.Of(p.provider)
	return p, nil
}

// deployed is the first deployment with a price of a model that the caller may use.
func (a *api) deployed(by records.Caller, name string) (*priced, bool) {
	m, ok := a.cfg.State.Catalog().Resolve(name)
	if !ok || by.OwnOnly && !a.mayUse(by, name) {
		return nil, false
	}
	var p *priced
	for _, d := range a.cfg.State.Catalog().ModelDeployments(m) {
		upstream := d.Upstream
		if upstream == "" {
			upstream = name
		}
		at := &priced{provider: d.Provider, model: upstream}
		if e, ok := a.cfg.Prices.Book().Of(d, name); ok {
			at.price = e.Price
		}
		if p == nil || p.price == nil {
			p = at
		}
	}
	return p, p != nil
}

// mayUse says whether the caller's key reaches the model.
func (a *api) mayUse(by records.Caller, name string) bool {
	if by.Who.Key == nil {
		return false
	}
	blocks := a.cfg.Records.Effective(by.Who.Key, records.Asked{Model: name}).Blocks
	for _, b := range blocks {
		if b.Code == "model_access_denied" || b.Code == "model_not_found" {
			return false
		}
	}
	return true
}

func listed(book *pricing.Book, name string) (*priced, bool) {
	if maker, model, ok := strings.Cut(name, "/"); ok {
		if e, ok := book.Lookup(maker, model); ok {
			return &priced{provider: maker, model: model, price: e.Price}, true
		}
	}
	for _, maker := range makers {
		if e, ok := book.Lookup(maker, name); ok {
			return &priced{provider: maker, model: name, price: e.Price}, true
		}
	}
	return nil, false
}

// estimateFields are the numbers of /cost/estimate, with what each may be at most.
type estimateFields struct {
	input, output, read, write, reasoning int64
	day, month                            *int64
}

func readEstimate(in records.Document) (f estimateFields, err error) {
	for name, v := range map[string]*int64{
		"input_tokens": &f.input, "output_tokens": &f.output, "cache_read_input_tokens": &f.read,
		"cache_creation_input_tokens": &f.write, "reasoning_tokens": &f.reasoning,
	} {
		if err := in.Take(name, v); err != nil {
			return f, err
		}
		if *v < 0 || *v > maxTokens {
			return f, wire.Invalid(name, "is not a number of tokens")
		}
	}
	for name, v := range map[string]**int64{"num_requests_per_day": &f.day, "num_requests_per_month": &f.month} {
		if err := in.Take(name, v); err != nil {
			return f, err
		}
		if n := *v; n != nil && (*n < 0 || *n > maxRequests) {
			return f, wire.Invalid(name, fmt.Sprintf("is not between 0 and %d", int64(maxRequests)))
		}
	}
	switch {
	case f.read+f.write > f.input:
		return f, wire.Invalid("input_tokens", "counts all tokens of the prompt, those of the cache too")
	case f.reasoning > f.output:
		return f, wire.Invalid("output_tokens", "counts all tokens of the answer, those of reasoning too")
	}
	return f, nil
}

// usage is what one request uses, in disjoint classes.
func (f *estimateFields) usage() llm.Usage {
	return llm.Usage{
		Input: f.input - f.read - f.write, CacheRead: f.read, CacheWrite: f.write,
		Output: f.output - f.reasoning, Reasoning: f.reasoning,
	}
}

// estimate prices requests that were not sent: each, and so many a day and a month. The whole is
// what would be charged, with discount and margin; its parts are at the list price.
func (a *api) estimate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	f, err := readEstimate(in)
	if err != nil {
		return err
	}
	name, err := fields.Text(in, "model")
	if err != nil {
		return err
	}
	p, err := a.find(by, name)
	if err != nil {
		return err
	}
	u := f.usage()
	plain := pricing.Bill(p.price, resource.Adjustment{Discount: p.adjust.Discount}, u)
	parts := map[string]resource.Money{"": p.bill(u), "margin_": p.bill(u) - plain}
	for part, class := range map[string]llm.Usage{
		"input_": {Input: u.Input}, "output_": {Output: u.Output}, "cache_read_": {CacheRead: u.CacheRead},
		"cache_creation_": {CacheWrite: u.CacheWrite}, "reasoning_": {Reasoning: u.Reasoning},
	} {
		parts[part] = pricing.Part(p.price, u, class)
	}
	parts["input_"] += parts["cache_read_"] + parts["cache_creation_"]
	parts["output_"] += parts["reasoning_"]
	out := map[string]any{
		"model": name, "provider": p.provider, "input_tokens": f.input, "output_tokens": f.output,
		"cache_read_input_tokens": f.read, "cache_creation_input_tokens": f.write, "reasoning_tokens": f.reasoning,
		"num_requests_per_day": f.day, "num_requests_per_month": f.month,
		"input_cost_per_token": resource.Rate(p.price.Input), "output_cost_per_token": resource.Rate(p.price.Output),
	}
	for part, cost := range parts {
		out[part+"cost_per_request"] = cost
		out["daily_"+part+"cost"], out["monthly_"+part+"cost"] = times(cost, f.day), times(cost, f.month)
	}
	return wire.Answer(w, records.Written{}, out)
}

// times is the cost of so many requests; nil for an unknown number.
func times(cost resource.Money, n *int64) any {
	switch {
	case n == nil:
		return nil
	case *n > 0 && cost > resource.MaxMoney/resource.Money(*n):
		return resource.MaxMoney
	}
	return cost * resource.Money(*n)
}

// calculate prices an answer by the usage that it tells, or messages before they are sent.
func (a *api) calculate(w http.ResponseWriter, r *http.Request, by records.Caller) error {
	in, err := wire.ReadBody(r)
	if err != nil {
		return err
	}
	name, err := fields.Text(in, "model")
	if err != nil {
		return err
	}
	answer := in["completion_response"]
	if name == "" && !fields.IsEmpty(answer) {
		var said struct {
			Model string `json:"model"`
		}
		_ = json.Unmarshal(answer, &said) // what it is not, find says
		name = said.Model
	}
	p, err := a.find(by, name)
	if err != nil {
		return err
	}
	var u llm.Usage
	if fields.IsEmpty(answer) {
		u, err = prompted(in, p.model)
	} else {
		u, err = answered(answer)
	}
	if err != nil {
		return err
	}
	return wire.Answer(w, records.Written{}, map[string]any{"cost": p.bill(u)})
}

// answered is the usage that an answer in OpenAI's format tells.
func answered(answer json.RawMessage) (llm.Usage, error) {
	report, err := llm.Read(answer)
	if err != nil || !report.HasUsage {
		return llm.Usage{}, wire.Invalid("completion_response", "is no answer in OpenAI's format with its usage")
	}
	return report.Usage, nil
}

// prompted is the usage of messages or a prompt that nobody has answered yet.
func prompted(in records.Document, model string) (llm.Usage, error) {
	t, _ := tokenize.ForModel(model)
	var prompt string
	if !fields.IsEmpty(in["prompt"]) {
		if err := in.Take("prompt", &prompt); err != nil {
			return llm.Usage{}, err
		}
		n, err := t.Count(prompt)
		if err != nil {
			return llm.Usage{}, wire.Invalid("prompt", err.Error())
		}
		return llm.Usage{Input: int64(n)}, nil
	}
	if fields.IsEmpty(in["messages"]) {
		return llm.Usage{}, wire.Invalid("messages", "is missing; give messages, a prompt or a completion_response")
	}
	body, err := json.Marshal(map[string]any{"model": model, "messages": in["messages"]})
	if err != nil {
		return llm.Usage{}, wire.Invalid("messages", err.Error())
	}
	inbound, _ := provider.InboundOf(llm.Chat)
	q, err := inbound.DecodeRequest(body)
	if err != nil {
		return llm.Usage{}, wire.Invalid("messages", err.Error())
	}
	n, err := tokenize.CountRequest(t, q)
	if err != nil {
		return llm.Usage{}, wire.Invalid("messages", err.Error())
	}
	return llm.Usage{Input: int64(n)}, nil
}

// costMap is the whole table of prices, as LiteLLM publishes its own.
func (a *api) costMap(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	return wire.Answer(w, records.Written{}, a.cfg.Prices.Book().Map())
}

// estimateRoutes are the paths that price what was not sent through here.
func (a *api) estimateRoutes() []wire.Route {
	return []wire.Route{
		{ID: "litellm-cost-estimate", Method: http.MethodPost, Pattern: "/cost/estimate", Handler: a.estimate},
		{ID: "litellm-spend-calculate", Method: http.MethodPost, Pattern: "/spend/calculate", Handler: a.calculate},
		{ID: "litellm-cost-map", Method: http.MethodGet, Pattern: "/public/litellm_model_cost_map", Handler: a.costMap},
	}
}
