package segment

import (
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/ledger"
)

// Words tells the receipt of a request in sentences.
func (r *Receipt) Words(row *Row) []string {
	if ledger.Flags(row.Flags).Has(ledger.Adjustment) {
		return r.adjustment(row)
	}
	out := []string{r.headline(row)}
	if r.Rule != "" {
		out = append(out, "The rule: "+r.Rule)
	}
	out = append(out, fmt.Sprintf("Estimated before it was sent: %d tokens of prompt, %d of completion; %s was held in its budgets.",
		r.EstimatedPrompt, r.EstimatedCompletion, row.Hold))
	if r.Clamped > 0 {
		out = append(out, fmt.Sprintf("A budget lowered the completion's maximum to %d tokens.", r.Clamped))
	}
	for _, g := range r.Guardrails {
		said := fmt.Sprintf("Guardrail %s (%s): %s", g.Guardrail, g.Hook, g.Status)
		if g.Found != "" {
			said += ", found " + g.Found
		}
		out = append(out, said+".")
	}
	if spent := r.Facts.Spent; spent != "" {
		out = append(out, fmt.Sprintf("The budget for %s was spent; %s took its place, as budget_fallbacks says.", spent, row.Model))
	}
	for i, a := range r.Attempts {
		out = append(out, a.words(i+1))
	}
	if len(r.Attempts) == 0 && r.Step != "" {
		out = append(out, "No deployment was asked.")
	}
	out = append(out, r.money(row)...)
	return out
}

// adjustment tells of a row that is no request.
func (r *Receipt) adjustment(row *Row) []string {
	out := []string{fmt.Sprintf("Adjusted: the cost of record %d was corrected by %s, %s.", row.Adjusts, row.Cost, r.PriceSource)}
	return append(out, r.charged()...)
}

func (r *Receipt) headline(row *Row) string {
	who := "the master key"
	if row.KeyID != "" {
		who = "key " + row.KeyID
	}
	if row.Count > 1 {
		who = fmt.Sprintf("%s, %d requests alike", who, row.Count)
	}
	switch {
	case r.Step == "":
		return fmt.Sprintf("Served: %s asked %s of %s; %s answered in %s with status %d.", who, row.Endpoint, row.Model,
			row.DeploymentID, time.Duration(row.Duration).Round(time.Millisecond), row.Status)
	case r.Scope != "":
		return fmt.Sprintf("Refused with status %d (%s) at the step %s, by %s %s: %s asked %s of %s.", row.Status, row.ErrorCode, r.Step,
			r.Scope, r.Entity, who, row.Endpoint, row.Model)
	default:
		return fmt.Sprintf("Refused with status %d (%s) at the step %s: %s asked %s of %s.", row.Status, row.ErrorCode, r.Step, who, row.Endpoint, row.Model)
	}
}

func (a *Attempt) words(n int) string {
	took := time.Duration(a.Duration).Round(time.Millisecond)
	if a.ErrorKind == "" {
		return fmt.Sprintf("Attempt %d: deployment %s (%s) answered in %s.", n, a.DeploymentID, a.Provider, took)
	}
	return fmt.Sprintf("Attempt %d: deployment %s (%s) failed after %s: %s %s.", n, a.DeploymentID, a.Provider, took, a.ErrorKind, a.ErrorCode)
}

// money tells what was charged to whom.
func (r *Receipt) money(row *Row) (out []string) {
	flags := ledger.Flags(row.Flags)
	if row.UsageSource != "" && row.UsageSource != "none" {
		line := fmt.Sprintf("Used %d tokens of prompt and %d of completion (%s): %s", row.Prompt(), row.Completion(), row.UsageSource, row.Cost)
		if r.PriceSource != "" {
			line += ", price: " + r.PriceSource
		}
		out = append(out, line+".")
	}
	if flags.Has(ledger.Unpriced) {
		out = append(out, "The price is unknown, so the cost is not counted.")
	}
	if flags.Has(ledger.Overrun) {
		out = append(out, "It cost more than was held.")
	}
	if flags.Has(ledger.HoldCharged) {
		out = append(out, "It was charged what was held: the node died before it ended, or nobody learns what it has used.")
	}
	return append(out, r.charged()...)
}

// charged lists the accounts.
func (r *Receipt) charged() (out []string) {
	for _, c := range r.Charges {
		out = append(out, fmt.Sprintf("Charged to %s: %d of its smallest unit.", c.Account, c.Amount))
	}
	return out
}
