package resource

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/conclave-llm/conclave/resource/shape"
)

// PriceTableID is the id of the one table of prices.
const PriceTableID = "prices"

// MaxPriceTable bounds the packed rows and the packed proposals of a price table, in bytes
// together: they travel in one entry of the log.
const MaxPriceTable = 4 << 20

// PriceTable is the prices that were imported, which go before those that are built into the
// program. Rows and Proposed are in the form of package pricing, which alone reads them.
type PriceTable struct {
	Meta
	Source string `json:"source,omitempty"` // file name or URL of the newest import
	ETag   string `json:"etag,omitempty"`   // of the URL's answer
	SHA256 string `json:"sha256,omitempty"` // of the file that was read, hexadecimal
	At     Time   `json:"at,omitempty"`     // of the newest import
	Count  int64  `json:"count,omitempty"`  // of rows
	Rows   []byte `json:"rows,omitempty"`
	// Proposed is what a person has to accept before it becomes a price.
	Proposed      []byte `json:"proposed,omitempty"`
	ProposedCount int64  `json:"proposed_count,omitempty"`
}

// Label implements Record.
func (t *PriceTable) Label() string { return "" }

// Canonicalize implements Record.
func (t *PriceTable) Canonicalize() {}

// Validate implements Record.
func (t *PriceTable) Validate() error {
	if t.ID != PriceTableID {
		return invalidf("id", "%q is not %q, and there is but one table", t.ID, PriceTableID)
	}
	if n := len(t.Rows) + len(t.Proposed); n > MaxPriceTable {
		return invalidf("rows", "%d bytes are more than the %d that a price table may have", n, MaxPriceTable)
	}
	if len(t.Source) > 2048 || len(t.ETag) > 1024 || len(t.SHA256) > 64 {
		return invalidf("source", "source, etag or sha256 is too long")
	}
	return nil
}

// PPM is a share in millionths. In JSON it is a decimal fraction: 0.05 is 50,000.
type PPM int64

// MarshalJSON writes a decimal fraction.
func (p PPM) MarshalJSON() ([]byte, error) { return json.Marshal(Money(p) * 1000) }

// UnmarshalJSON reads a decimal fraction of at most six decimals.
func (p *PPM) UnmarshalJSON(b []byte) error {
	r, err := parseDecimal(string(b))
	if err != nil {
		return err
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	if !r.IsInt() || !r.Num().IsInt64() {
		return fmt.Errorf("share %s has more than six decimals, or is too large", b)
	}
	*p = PPM(r.Num().Int64())
	return nil
}

// Adjustment is what is taken off and put onto the price of a provider's requests: the cost at
// list price × (1 − Discount) × (1 + Margin), rounded up once, and Fixed for each request.
type Adjustment struct {
	Discount PPM   `json:"discount,omitempty"` // 0 to 1
	Margin   PPM   `json:"margin,omitempty"`   // 0 to 100
	Fixed    Money `json:"fixed,omitempty"`    // dollars a request that was answered
}

// All says that the whole price is taken off.
func (a Adjustment) All() bool { return a.Discount == 1_000_000 }

// Adjustments are those of each provider; "*" stands for all that are not named.
type Adjustments map[string]Adjustment

// Of is the adjustment of a provider, the zero value for none.
func (a Adjustments) Of(provider string) Adjustment {
	if v, ok := a[provider]; ok {
		return v
	}
	return a["*"]
}

func readAdjustments(s *Settings, v json.RawMessage) error {
	var all Adjustments
	if err := shape.Read(v, &all); err != nil {
		return invalidShape("value", err)
	}
	for _, name := range sortedKeys(all) {
		a := all[name]
		switch {
		case name == "":
			return invalidf("value", "a provider without a name")
		case a.Discount < 0 || a.Discount > 1_000_000:
			return invalidf("value."+name+".discount", "is not a share between 0 and 1")
		case a.Margin < 0 || a.Margin > 100_000_000:
			return invalidf("value."+name+".margin", "is not between 0 and 100")
		case a.Fixed < 0 || a.Fixed > 1000*Dollar:
			return invalidf("value."+name+".fixed", "%s is not between 0 and 1000 dollars", a.Fixed)
		}
	}
	s.PriceAdjustments = all
	return nil
}

// ApplyPrices says what becomes of prices that were downloaded.
type ApplyPrices string

// The ways to apply prices. The zero value is ApplyReview.
const (
	ApplyReview ApplyPrices = "review" // a person accepts them
	ApplyAuto   ApplyPrices = "auto"   // at once, but for what looks wrong
)

// PriceSync says where prices are downloaded from, and how often. It is off without a URL.
type PriceSync struct {
	URL   string        `json:"url,omitempty"`
	Every time.Duration `json:"-"` // 0: only when asked
	Apply ApplyPrices   `json:"apply,omitempty"`
}

// minPriceSync bounds how often prices may be downloaded.
const minPriceSync = time.Minute

// priceSyncValue is the setting as it is written.
type priceSyncValue struct {
	PriceSync
	Every string `json:"every"`
}

func readPriceSync(s *Settings, v json.RawMessage) error {
	var in priceSyncValue
	if err := shape.Read(v, &in); err != nil {
		return invalidShape("value", err)
	}
	out := in.PriceSync
	if out.URL != "" {
		u, err := url.Parse(out.URL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || len(out.URL) > 2048 {
			return invalidf("value.url", "%q is not a URL such as https://host/prices.json", out.URL)
		}
	}
	if in.Every != "" {
		d, err := time.ParseDuration(in.Every)
		if err != nil || d < minPriceSync || d > 365*24*time.Hour {
			return invalidf("value.every", "%q is not a duration between 1m and a year, such as 24h", in.Every)
		}
		out.Every = d
	}
	switch out.Apply {
	case "":
		out.Apply = ApplyReview
	case ApplyReview, ApplyAuto:
	default:
		return invalidf("value.apply", "%q is not review or auto", out.Apply)
	}
	s.PriceSync = out
	return nil
}

// EstimatePrice is what an unknown price is taken for where a budget says "estimate", unless
// the setting unknown_price says otherwise: five dollars in and twenty-five out, which few
// models exceed.
func EstimatePrice() *Price { return &Price{Input: 5 * Dollar, Output: 25 * Dollar} }

func readUnknownPrice(s *Settings, v json.RawMessage) error {
	p := new(Price)
	if err := shape.Read(v, p); err != nil {
		return invalidShape("value", err)
	}
	if err := p.Validate("value"); err != nil {
		return err
	}
	s.UnknownPrice = p
	return nil
}
