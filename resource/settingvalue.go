package resource

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// The readers of settings' values. Each returns an *Invalid for what it does not take.

func readBudgetStatus(s *Settings, v json.RawMessage) error {
	n, err := strconv.Atoi(string(v))
	if err != nil || (n != 400 && n != 402 && n != 422 && n != 429) {
		return invalidf("value", "%s is not one of 400, 402, 422, 429", v)
	}
	s.BudgetExceededStatus = n
	return nil
}

func readServeStale(s *Settings, v json.RawMessage) error {
	var text string
	if err := json.Unmarshal(v, &text); err != nil {
		return invalidf("value", "%s is not a string", v)
	}
	d, err := ParseServeStale(text)
	if err != nil {
		return err
	}
	s.ServeStale = d
	return nil
}

// ParseServeStale reads for how long a node without a leader serves inference: 0 is fail closed, less is for ever.
// It returns an *Invalid.
func ParseServeStale(text string) (time.Duration, error) {
	switch text {
	case "forever":
		return -1, nil
	case "fail_closed":
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, invalidf("value", "%q is not a duration such as 24h, forever or fail_closed", text)
	}
	return d, nil
}

// ServeStaleText writes what ParseServeStale reads.
func ServeStaleText(d time.Duration) string {
	switch {
	case d < 0:
		return "forever"
	case d == 0:
		return "fail_closed"
	}
	return d.String()
}

// integer reads a whole number between two, and keeps it times unit.
func integer(field func(*Settings) *int64, least, most, unit int64) func(*Settings, json.RawMessage) error {
	return func(s *Settings, v json.RawMessage) error {
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil || n < least || n > most {
			return invalidf("value", "%s is not between %d and %d", v, least, most)
		}
		*field(s) = n * unit
		return nil
	}
}

func boolean(field func(*Settings) *bool) func(*Settings, json.RawMessage) error {
	return func(s *Settings, v json.RawMessage) error {
		if err := json.Unmarshal(v, field(s)); err != nil || string(v) == "null" {
			return invalidf("value", "%s is not true or false", v)
		}
		return nil
	}
}

// inverse is a boolean whose field says the contrary, for those that are true by default.
func inverse(field func(*Settings) *bool) func(*Settings, json.RawMessage) error {
	read := boolean(field)
	return func(s *Settings, v json.RawMessage) error {
		if err := read(s, v); err != nil {
			return err
		}
		*field(s) = !*field(s)
		return nil
	}
}

// readList reads a list of strings.
func readList(v json.RawMessage) ([]string, error) {
	var list []string
	if err := json.Unmarshal(v, &list); err != nil {
		return nil, invalidf("value", "%.100s is not a list of strings", v)
	}
	return list, nil
}

// params reads names of fields: with at most one dot.
func params(field func(*Settings) *[]string) func(*Settings, json.RawMessage) error {
	return func(s *Settings, v json.RawMessage) error {
		list, err := readList(v)
		if err != nil {
			return err
		}
		if err := validParams("value", list); err != nil {
			return err
		}
		*field(s) = list
		return nil
	}
}

// validParams refuses names of fields that no request can have.
func validParams(field string, list []string) error {
	if err := validNames(field, list); err != nil {
		return err
	}
	for i, name := range list {
		outer, inner, dotted := strings.Cut(name, ".")
		if outer == "" || dotted && (inner == "" || strings.Contains(inner, ".")) {
			return invalidf(fmt.Sprintf("%s[%d]", field, i), "%q is not a field such as user or metadata.cost_center", name)
		}
	}
	return nil
}

// prefixes reads addresses and ranges.
func prefixes(field func(*Settings) *[]netip.Prefix) func(*Settings, json.RawMessage) error {
	return func(s *Settings, v json.RawMessage) error {
		list, err := readList(v)
		if err != nil {
			return err
		}
		out := make([]netip.Prefix, len(list))
		for i, text := range list {
			if out[i], err = ParseAddresses(text); err != nil {
				return invalidf(fmt.Sprintf("value[%d]", i), "%s", err)
			}
		}
		*field(s) = out
		return nil
	}
}

// readLines reads a list of names, or a text with one name a line, as a file has them. Empty
// lines are left out; a line that is no name is refused with its number.
func readLines(v json.RawMessage, most int) ([]string, error) {
	var text string
	if json.Unmarshal(v, &text) != nil {
		list, err := readList(v)
		if err != nil {
			return nil, invalidf("value", "%.100s is neither a list of strings nor a text with one a line", v)
		}
		for i, name := range list {
			if why := badLine(name, most); why != "" {
				return nil, invalidf(fmt.Sprintf("value[%d]", i), "%.100q %s", name, why)
			}
		}
		return list, nil
	}
	var list []string
	number := 0
	for line := range strings.Lines(text) {
		number++
		name := strings.TrimSpace(line)
		if name == "" {
			continue
		}
		if why := badLine(name, most); why != "" {
			return nil, invalidf("value", "line %d: %.100q %s", number, name, why)
		}
		list = append(list, name)
	}
	return list, nil
}

// badLine says what is wrong with a name, "" for nothing.
func badLine(name string, most int) string {
	switch {
	case name == "" || strings.TrimSpace(name) != name:
		return "is empty or has a space at an end"
	case len(name) > most:
		return fmt.Sprintf("is longer than %d bytes", most)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }):
		return "has a control character or is not UTF-8"
	}
	return ""
}

// headerMapping is what LiteLLM calls a mapping of a header.
type headerMapping struct {
	Header string `json:"header_name"`
	Role   string `json:"litellm_user_role"`
}

// readHeaderMappings reads names of headers, or what LiteLLM calls mappings.
func readHeaderMappings(s *Settings, v json.RawMessage) error {
	var items []json.RawMessage
	if err := json.Unmarshal(v, &items); err != nil {
		return invalidf("value", "%.100s is not a list", v)
	}
	out := make([]string, 0, len(items))
	for i, item := range items {
		field := fmt.Sprintf("value[%d]", i)
		var m headerMapping
		if json.Unmarshal(item, &m.Header) != nil {
			if err := json.Unmarshal(item, &m); err != nil {
				return invalidf(field, "%.100s is neither a header's name nor {\"header_name\", \"litellm_user_role\"}", item)
			}
			if m.Role != "" && m.Role != HolderCustomer {
				return invalidf(field+".litellm_user_role", "%q is not customer", m.Role)
			}
		}
		name, err := headerName(field, m.Header)
		if err != nil {
			return err
		}
		out = append(out, name)
	}
	s.CustomerHeaders = out
	return nil
}

// headerName gives the canonical form of a header's name.
func headerName(field, name string) (string, error) {
	bad := func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && r != '-' && r != '_'
	}
	if name == "" || len(name) > 128 || strings.IndexFunc(name, bad) >= 0 {
		return "", invalidf(field, "%.100q is not the name of a header", name)
	}
	return textproto.CanonicalMIMEHeaderKey(name), nil
}

// readCustomerBudget reads the id or the name of a shared budget, which need not be there yet.
func readCustomerBudget(s *Settings, v json.RawMessage) error {
	var ref string
	if err := json.Unmarshal(v, &ref); err != nil {
		return invalidf("value", "%s is not the id or the name of a budget", v)
	}
	if ref != "" {
		if err := validName("value", ref); err != nil {
			return err
		}
	}
	s.CustomerBudget = ref
	return nil
}

// readDefaultProvider reads the name of a provider, which the data path knows or not.
func readDefaultProvider(s *Settings, v json.RawMessage) error {
	var name string
	if err := json.Unmarshal(v, &name); err != nil || len(name) > 64 {
		return invalidf("value", "%.100s is not the name of a provider", v)
	}
	s.DefaultProvider = name
	return nil
}

// readModerationModel reads the name of a model, which need not be there yet.
func readModerationModel(s *Settings, v json.RawMessage) error {
	var name string
	if err := json.Unmarshal(v, &name); err != nil || len(name) > 256 {
		return invalidf("value", "%.100s is not the name of a model", v)
	}
	s.ModerationModel = name
	return nil
}
