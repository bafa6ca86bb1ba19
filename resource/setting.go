package resource

import (
	"encoding/json"
	"strconv"
	"time"
)

// Setting is one value of the cluster, named by its id.
type Setting struct {
	Meta
	Value json.RawMessage `json:"value,omitempty"`
}

// Settings are all settings, decoded, with defaults filled in.
type Settings struct {
	BudgetExceededStatus int           // 400, 402, 422 or 429; default 429
	ServeStale           time.Duration // how long a node without a leader serves inference; default 24h; 0: fail closed; <0: for ever
	MaxBodyBytes         int64         // of an inference request; default 32 MiB
	DefaultOutputHold    int64         // tokens held for a request without a maximum; default 4096
	KeyHeader            string        // a further header that carries a key; default none
	PriceAdjustments     Adjustments   // discounts and margins; default none
	PriceSync            PriceSync     // default off
	UnknownPrice         *Price        // where a budget says estimate; default EstimatePrice
	Audit                AuditSettings // default: kept for ever, delivered nowhere
}

// DefaultSettings are those of a cluster that has set none.
func DefaultSettings() Settings {
	return Settings{
		BudgetExceededStatus: 429,
		ServeStale:           24 * time.Hour,
		MaxBodyBytes:         32 << 20,
		DefaultOutputHold:    4096,
		UnknownPrice:         EstimatePrice(),
	}
}

// settings is the table of settings: each name and how its value is read.
var settings = map[string]func(*Settings, json.RawMessage) error{
	"budget_exceeded_status_code": func(s *Settings, v json.RawMessage) error {
		n, err := strconv.Atoi(string(v))
		if err != nil || (n != 400 && n != 402 && n != 422 && n != 429) {
			return invalidf("value", "%s is not one of 400, 402, 422, 429", v)
		}
		s.BudgetExceededStatus = n
		return nil
	},
	"serve_stale": func(s *Settings, v json.RawMessage) error {
		var text string
		if err := json.Unmarshal(v, &text); err != nil {
			return invalidf("value", "%s is not a string", v)
		}
		switch text {
		case "forever":
			s.ServeStale = -1
			return nil
		case "fail_closed":
			s.ServeStale = 0
			return nil
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return invalidf("value", "%q is not a duration such as 24h, forever or fail_closed", text)
		}
		s.ServeStale = d
		return nil
	},
	"max_body_bytes": func(s *Settings, v json.RawMessage) error {
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil || n < 1<<10 || n > 1<<30 {
			return invalidf("value", "%s is not between 1 KiB and 1 GiB", v)
		}
		s.MaxBodyBytes = n
		return nil
	},
	"default_output_hold": func(s *Settings, v json.RawMessage) error {
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil || n < 1 || n > 10_000_000 {
			return invalidf("value", "%s is not between 1 and 10000000 tokens", v)
		}
		s.DefaultOutputHold = n
		return nil
	},
	"key_header": func(s *Settings, v json.RawMessage) error {
		return json.Unmarshal(v, &s.KeyHeader)
	},
	"price_adjustments": readAdjustments,
	"price_sync":        readPriceSync,
	"unknown_price":     readUnknownPrice,
	"audit": func(s *Settings, v json.RawMessage) (err error) {
		s.Audit, err = ParseAudit(v)
		return err
	},
}

// Label implements Record.
func (s *Setting) Label() string { return "" }

// Canonicalize implements Record.
func (s *Setting) Canonicalize() {}

// Validate implements Record.
func (s *Setting) Validate() error {
	var into Settings
	return into.Set(s.ID, s.Value)
}

// Set reads one named value into s. It returns an *Invalid for an unknown name or value.
func (s *Settings) Set(name string, value json.RawMessage) error {
	read, ok := settings[name]
	if !ok {
		return invalidf("id", "%q is not a setting", name)
	}
	return read(s, value)
}
