package resource

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/conclave-llm/conclave/resource/shape"
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
	return invalidShape(field, shape.ReadKnown(v, new(T)))
}

// invalidShape makes an *Invalid of an error of package shape, nil of nil; the value stands in the field of, or its fields
// are named alone if that is "".
func invalidShape(of string, err error) error {
	e, ok := errors.AsType[*shape.Error](err)
	switch {
	case !ok:
		return err
	case e.Field == "":
		return invalidf(cmp.Or(of, "value"), "%s", e.Reason)
	case of == "":
		return invalidf(e.Field, "%s", e.Reason)
	}
	return invalidf(of+"."+e.Field, "%s", e.Reason)
}

func knownMappings(field string, v json.RawMessage) error {
	var items []json.RawMessage
	if err := shape.Read(v, &items); err != nil {
		return invalidShape(field, err)
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
