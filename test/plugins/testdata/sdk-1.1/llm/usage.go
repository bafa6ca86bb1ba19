package llm

// UsageSource says where the numbers of a Usage come from.
type UsageSource uint8

// The sources of usage.
const (
	UsageNone      UsageSource = iota // nothing was used
	UsageProvider                     // the provider reported it
	UsageEstimated                    // counted from what passed
)

// String names the source as the ledger and the headers do.
func (s UsageSource) String() string {
	return [...]string{"none", "provider", "estimated"}[s]
}

// Usage is tokens in disjoint classes: their sum is what the provider counted in all.
type Usage struct {
	Input      int64 // prompt tokens that were neither read from nor written to a cache
	CacheRead  int64
	CacheWrite int64
	Output     int64 // completion tokens without reasoning
	Reasoning  int64
	Source     UsageSource
}

// Prompt is all tokens of the prompt.
func (u Usage) Prompt() int64 { return u.Input + u.CacheRead + u.CacheWrite }

// Completion is all tokens of the completion.
func (u Usage) Completion() int64 { return u.Output + u.Reasoning }

// Total is all tokens.
func (u Usage) Total() int64 { return u.Prompt() + u.Completion() }
