package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// known checks the values of settings, by name, whose readers skip fields that they do not know: a value that is
// written may have none, while one that is stored may, of a later version.
var known = map[string]func(field string, v json.RawMessage) error{
	"price_adjustments":    onlyKnown[Adjustments],
	"price_sync":           onlyKnown[priceSyncValue],
	"provider_proxies":     onlyKnown[map[string]*Proxy],
	"unknown_price":        onlyKnown[Price],
	"user_header_mappings": knownMappings,
}

// onlyKnown refuses a value with fields that T has not.
func onlyKnown[T any](field string, v json.RawMessage) error {
	dec := json.NewDecoder(bytes.NewReader(v))
	dec.DisallowUnknownFields()
	if err := dec.Decode(new(T)); err != nil {
		return invalidf(field, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func knownMappings(field string, v json.RawMessage) error {
	var items []json.RawMessage
	if err := json.Unmarshal(v, &items); err != nil {
		return invalidf(field, "%s", err)
	}
	for i, item := range items {
		if item[0] != '{' {
			continue // a name alone
		}
		if err := onlyKnown[headerMapping](fmt.Sprintf("%s[%d]", field, i), item); err != nil {
			return err
		}
	}
	return nil
}
