package segment

import (
	"encoding/json"
	"time"

	"github.com/conclave-llm/conclave/ledger"
	"github.com/conclave-llm/conclave/ledger/facts"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// Row is one request, or several refusals that are alike. It is the schema of segments,
// one field a column: that is why it is long and flat. Columns are only ever added, and a new
// one is left out of the JSON while it is empty: the chain of older rows is a hash of that.
type Row struct {
	Number       uint64         `parquet:"number,delta" json:"number"` // of its record in the node's journal
	Node         string         `parquet:"node,dict" json:"node"`
	Time         resource.Time  `parquet:"time,timestamp(nanosecond)" json:"time"` // when it ended
	Count        int64          `parquet:"count,dict" json:"count"`                // requests that the row stands for
	RequestID    string         `parquet:"request_id" json:"request_id"`
	KeyID        string         `parquet:"key_id,dict" json:"key_id,omitempty"`
	TeamID       string         `parquet:"team_id,dict" json:"team_id,omitempty"`
	Organization string         `parquet:"organization_id,dict" json:"organization_id,omitempty"`
	ProjectID    string         `parquet:"project_id,dict" json:"project_id,omitempty"`
	UserID       string         `parquet:"user_id,dict" json:"user_id,omitempty"`
	Customer     string         `parquet:"customer_id,dict" json:"customer_id,omitempty"`
	Session      string         `parquet:"session_id,dict" json:"session_id,omitempty"`
	Model        string         `parquet:"model,dict" json:"model"`
	DeploymentID string         `parquet:"deployment_id,dict" json:"deployment_id,omitempty"`
	Provider     string         `parquet:"provider,dict" json:"provider,omitempty"`
	Endpoint     string         `parquet:"endpoint,dict" json:"endpoint"`
	Status       int32          `parquet:"status,dict" json:"status"`
	ErrorKind    string         `parquet:"error_kind,dict" json:"error_kind,omitempty"`
	ErrorCode    string         `parquet:"error_code,dict" json:"error_code,omitempty"`
	Attempts     int32          `parquet:"attempts,dict" json:"attempts"`
	Input        int64          `parquet:"input_tokens" json:"input_tokens"` // of the prompt, without those of the cache
	CacheRead    int64          `parquet:"cache_read_tokens" json:"cache_read_tokens"`
	CacheWrite   int64          `parquet:"cache_write_tokens" json:"cache_write_tokens"`
	Output       int64          `parquet:"output_tokens" json:"output_tokens"` // of the completion, without reasoning
	Reasoning    int64          `parquet:"reasoning_tokens" json:"reasoning_tokens"`
	CacheWrite1h int64          `parquet:"cache_write_1h_tokens" json:"cache_write_1h_tokens,omitempty"` // these five are part of those above
	AudioInput   int64          `parquet:"audio_input_tokens" json:"audio_input_tokens,omitempty"`
	ImageInput   int64          `parquet:"image_input_tokens" json:"image_input_tokens,omitempty"`
	AudioOutput  int64          `parquet:"audio_output_tokens" json:"audio_output_tokens,omitempty"`
	ImageOutput  int64          `parquet:"image_output_tokens" json:"image_output_tokens,omitempty"`
	Service      string         `parquet:"service_tier,dict" json:"service_tier,omitempty"`
	UsageSource  string         `parquet:"usage_source,dict" json:"usage_source"`
	Cost         resource.Money `parquet:"cost_nanodollars" json:"cost"`
	Hold         resource.Money `parquet:"hold_nanodollars" json:"hold"`
	Duration     int64          `parquet:"duration_ns" json:"duration_ns"` // of all that the row stands for
	TTFT         int64          `parquet:"ttft_ns" json:"ttft_ns,omitempty"`
	Flags        uint32         `parquet:"flags,dict" json:"flags"`
	Tags         []string       `parquet:"tags,list" json:"tags,omitempty"`
	Guardrail    string         `parquet:"guardrail,dict" json:"guardrail,omitempty"`
	Receipt      string         `parquet:"receipt" json:"receipt,omitempty"`    // a Receipt in JSON
	PromptName   string         `parquet:"prompt,dict" json:"prompt,omitempty"` // stored prompt that it was made of
	PromptVer    int64          `parquet:"prompt_version,dict" json:"prompt_version,omitempty"`
	Adjusts      uint64         `parquet:"adjusts" json:"adjusts,omitempty"` // number of the row whose cost this one corrects
	Salt         string         `parquet:"salt" json:"-"`                    // of the commitment to what is personal; gone with it
	Commitment   string         `parquet:"commitment,dict" json:"-"`         // of a row whose person is forgotten: what stood in its place
	Link         uint64         `parquet:"link" json:"-"`                    // of the node's chain, once the row is sealed
}

// Failed says whether the request counts as a failure.
func (r *Row) Failed() bool { return r.ErrorKind != "" || r.Status >= 400 }

// Prompt is all tokens of the prompt.
func (r *Row) Prompt() int64 { return r.Input + r.CacheRead + r.CacheWrite }

// Completion is all tokens of the completion.
func (r *Row) Completion() int64 { return r.Output + r.Reasoning }

// Explain reads the row's receipt.
func (r *Row) Explain() (Receipt, error) {
	var out Receipt
	err := json.Unmarshal([]byte(r.Receipt), &out)
	return out, err
}

// Receipt is why a request was served or refused.
type Receipt struct {
	Decision            string           `json:"decision"`         // "served" or "refused"
	Step                string           `json:"step,omitempty"`   // that ended it: "auth", "budget", …
	Scope               string           `json:"scope,omitempty"`  // whose rule: "key", "team", …
	Entity              string           `json:"entity,omitempty"` // its id
	Rule                string           `json:"rule,omitempty"`   // in words
	EstimatedPrompt     int64            `json:"estimated_prompt"` // tokens
	EstimatedCompletion int64            `json:"estimated_completion"`
	Clamped             int64            `json:"clamped,omitempty"` // the completion's maximum that a budget allowed
	PriceSource         string           `json:"price_source,omitempty"`
	Attempts            []Attempt        `json:"attempts,omitempty"`
	Guardrails          []GuardrailCheck `json:"guardrails,omitempty"`
	Charges             []Charge         `json:"charges,omitempty"`
	Facts               facts.Facts      `json:"facts,omitzero"` // what the decision was about
}

// Attempt is one attempt at a deployment.
type Attempt struct {
	DeploymentID string `json:"deployment_id"`
	Provider     string `json:"provider"`
	Status       int    `json:"status,omitempty"`
	ErrorKind    string `json:"error_kind,omitempty"`
	ErrorCode    string `json:"error_code,omitempty"`
	Duration     int64  `json:"duration_ns"`
}

// GuardrailCheck is what became of one guardrail's check.
type GuardrailCheck struct {
	Guardrail string `json:"guardrail"`
	Hook      string `json:"hook"`
	Status    string `json:"status"`
	Found     string `json:"found,omitempty"` // "email 2, hate 0.91"
}

// Charge is what one account was charged.
type Charge struct {
	Account string        `json:"account"` // KIND/ID/TERMS
	Window  resource.Time `json:"window"`  // its start; null for one that never ends
	Amount  int64         `json:"amount"`  // of the account's unit: nanodollars, tokens, requests
}

// RowOf is the row of a record, which stands for so many requests.
func RowOf(r *ledger.Record, count int64) Row {
	row := Bare(r, count)
	row.Receipt = ReceiptOf(r)
	return row
}

// ReceiptOf is the receipt of a record as rows have it.
func ReceiptOf(r *ledger.Record) string {
	b, _ := json.Marshal(receipt(r)) // plain fields: it does not fail
	return string(b)
}

// Bare is the row of a record without its receipt.
func Bare(r *ledger.Record, count int64) Row {
	u := &r.Usage
	return Row{
		Number: r.Number, Node: r.Node, Time: r.Time, Count: count, RequestID: r.RequestID,
		KeyID: r.KeyID, TeamID: r.TeamID, Organization: r.OrganizationID, ProjectID: r.ProjectID, UserID: r.UserID,
		Customer: r.CustomerID, Session: r.SessionID, Model: r.Model, DeploymentID: r.DeploymentID, Provider: r.Provider,
		Endpoint: r.Endpoint, Status: int32(r.Status), ErrorKind: r.ErrorKind, ErrorCode: r.ErrorCode, Attempts: int32(r.Attempts),
		Input: u.Input + u.AudioInput + u.ImageInput, CacheRead: u.CacheRead + u.CacheReadAudio + u.CacheReadImage,
		CacheWrite: u.CacheWrite + u.CacheWrite1h, Output: u.Output + u.AudioOutput + u.ImageOutput, Reasoning: u.Reasoning,
		CacheWrite1h: u.CacheWrite1h, AudioInput: u.AudioInput, ImageInput: u.ImageInput, AudioOutput: u.AudioOutput,
		ImageOutput: u.ImageOutput, Service: u.Service.String(), UsageSource: u.Source.String(), Cost: r.Cost, Hold: r.Hold,
		Duration: int64(r.Duration), TTFT: int64(r.TTFT), Flags: uint32(r.Flags), Tags: r.Tags, Guardrail: r.Guardrail, Adjusts: r.Adjusts,
		PromptName: r.Prompt, PromptVer: r.PromptVersion,
	}
}

func receipt(r *ledger.Record) Receipt {
	from := &r.Receipt
	out := Receipt{
		Decision: "served", Step: from.Step, Scope: from.Scope, Entity: from.Entity, Rule: from.Rule,
		EstimatedPrompt: from.Prompt, EstimatedCompletion: from.Completion, Clamped: from.Clamped, PriceSource: from.PriceSource,
		Facts: from.Facts,
	}
	if r.Flags.Has(ledger.Adjustment) {
		out.Decision = "adjusted"
	}
	if from.Step != "" {
		out.Decision = "refused"
	}
	for _, t := range from.Tries {
		out.Attempts = append(out.Attempts, Attempt{t.DeploymentID, t.Provider, t.Status, t.ErrorKind, t.ErrorCode, int64(t.Duration)})
	}
	for _, g := range r.Guardrails {
		out.Guardrails = append(out.Guardrails, GuardrailCheck(g))
	}
	for _, c := range r.Charges {
		out.Charges = append(out.Charges, Charge{string(c.Account), c.Start, int64(c.Amount)})
	}
	return out
}

// Record is what of a row the sums are made of.
func (r *Row) Record() ledger.Record {
	rec := ledger.Record{
		Number: r.Number, Time: r.Time, KeyID: r.KeyID, TeamID: r.TeamID, OrganizationID: r.Organization, ProjectID: r.ProjectID,
		UserID: r.UserID, CustomerID: r.Customer, Model: r.Model, DeploymentID: r.DeploymentID, Provider: r.Provider,
		Endpoint: r.Endpoint, Status: int(r.Status), ErrorKind: r.ErrorKind, Cost: r.Cost, Duration: time.Duration(r.Duration),
		TTFT: time.Duration(r.TTFT), Flags: ledger.Flags(r.Flags), Tags: r.Tags,
	}
	rec.Usage = llm.Usage{Input: r.Input, CacheRead: r.CacheRead, CacheWrite: r.CacheWrite, Output: r.Output, Reasoning: r.Reasoning}
	return rec
}
