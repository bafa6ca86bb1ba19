package quote

import (
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// guessedRate is how many tokens a second a provider is taken to have made for a client that
// went away before the first one was seen. Charging nothing would make hanging up a way to
// spend without a budget.
const guessedRate = 100

// Tokens is how many tokens a generated text of so many bytes is taken for.
func Tokens(text int64) int64 { return text/bytesPerToken + 1 }

// Used is what a request is taken to have used, where no provider says: text is the size of the
// generated text that passed, waited how long the provider had to make some if none did.
func (q *Quote) Used(e llm.Endpoint, text int64, waited time.Duration) llm.Usage {
	u := llm.Usage{Input: q.Prompt, Source: llm.UsageEstimated}
	switch {
	case e.Family() == llm.FamilyCount, e == llm.PassThrough && q.choices == 0:
		return llm.Usage{}
	case e.Family() == llm.FamilyMedia:
		return q.made(e, u)
	case e.Family() != llm.FamilyConversation && e != llm.PassThrough:
		u.Units = q.units
	case text > 0:
		u.Output = Tokens(text)
	default:
		u.Output = min(q.Output, int64(waited.Seconds()*guessedRate))
	}
	return u
}
