package resource

// Price is US dollars per million tokens of each disjoint class of usage. A nil class costs
// what its nearest class costs (cache reads and writes as input, reasoning as output).
// A price of 0 in all classes is "free"; no price at all is "unknown".
type Price struct {
	Input      Money  `json:"input"`
	Output     Money  `json:"output"`
	CacheRead  *Money `json:"cache_read,omitempty"`
	CacheWrite *Money `json:"cache_write,omitempty"`
	Reasoning  *Money `json:"reasoning,omitempty"`
	Request    Money  `json:"request,omitempty"` // dollars a request, whatever its tokens
}

// IsFree says that nothing served at the price costs anything.
func (p *Price) IsFree() bool {
	for _, m := range []*Money{p.CacheRead, p.CacheWrite, p.Reasoning} {
		if m != nil && *m != 0 {
			return false
		}
	}
	return p.Input == 0 && p.Output == 0 && p.Request == 0
}

func (p *Price) validate(field string) error {
	for _, f := range []struct {
		name string
		v    *Money
	}{
		{"input", &p.Input},
		{"output", &p.Output},
		{"cache_read", p.CacheRead},
		{"cache_write", p.CacheWrite},
		{"reasoning", p.Reasoning},
		{"request", &p.Request},
	} {
		if f.v != nil && (*f.v < 0 || *f.v > 1_000_000*Dollar) {
			return invalidf(field+"."+f.name, "%s is not between 0 and 1000000", *f.v)
		}
	}
	return nil
}
