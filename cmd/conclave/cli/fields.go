package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-llm/conclave/cmd/conclave/cli/console"
)

// form is how a flag's text becomes JSON.
type form uint8

const (
	asText   form = iota
	asNumber      // kept digit for digit
	asBool
	asList   // the flag may be given several times
	asSecret // env:VAR, file:PATH, - for standard input, or the text itself
	asJSON
	asValue       // JSON, else text; file:PATH for what the file holds
	asExpiry      // a duration from now
	asPairs       // NAME=TEXT, several times; an empty text removes it
	asSecretPairs // NAME=SECRET, as asSecret, several times
)

// field is one flag of create and update and the member of the record that it sets.
type field struct {
	flag, path string
	form       form
	usage      string
}

// fieldFlags declares the flags of the fields and those that set any member.
func fieldFlags(cmd *cobra.Command, fields []field) {
	f := cmd.Flags()
	for _, fd := range fields {
		switch fd.form {
		case asList, asPairs, asSecretPairs:
			f.StringArray(fd.flag, nil, fd.usage)
		case asBool:
			f.Bool(fd.flag, false, fd.usage)
		default:
			f.String(fd.flag, "", fd.usage)
		}
	}
	f.StringArray("set", nil, "set any member: limits.rpm=60 (JSON, else text)")
	f.StringArray("unset", nil, "remove a member: budgets")
	f.StringP("file", "f", "", "read the record as JSON from the file, - is standard input")
}

// document makes a JSON document of what the command line says. Every part of it is there
// only if it was given.
func (a *app) document(cmd *cobra.Command, fields []field) (map[string]any, error) {
	f := cmd.Flags()
	doc := map[string]any{}
	if path, err := f.GetString("file"); err == nil && path != "" {
		b, err := a.Read(path)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			return nil, fmt.Errorf("%s is not a JSON object: %w", path, err)
		}
	}
	for _, fd := range fields {
		if !f.Changed(fd.flag) {
			continue
		}
		v, err := a.value(cmd, fd)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", fd.flag, err)
		}
		put(doc, fd.path, v)
	}
	set, _ := f.GetStringArray("set")
	for _, s := range set {
		path, text, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: is not PATH=VALUE", s)
		}
		var v any = text
		if json.Valid([]byte(text)) {
			v = json.RawMessage(text)
		}
		put(doc, path, v)
	}
	unset, _ := f.GetStringArray("unset")
	for _, path := range unset {
		put(doc, path, nil)
	}
	return doc, nil
}

func (a *app) value(cmd *cobra.Command, fd field) (any, error) {
	f := cmd.Flags()
	switch fd.form {
	case asList:
		list, err := f.GetStringArray(fd.flag)
		return console.SplitAll(list), err
	case asBool:
		return f.GetBool(fd.flag)
	case asPairs, asSecretPairs:
		list, err := f.GetStringArray(fd.flag)
		if err != nil {
			return nil, err
		}
		return a.pairs(list, fd.form)
	}
	s, err := f.GetString(fd.flag)
	if err != nil {
		return nil, err
	}
	switch fd.form {
	case asNumber:
		if s == "" {
			return nil, nil
		}
		return json.Number(s), checkNumber(s)
	case asSecret:
		return a.Secret(s)
	case asJSON:
		if !json.Valid([]byte(s)) {
			return nil, errors.New("is not JSON")
		}
		return json.RawMessage(s), nil
	case asValue:
		return a.anyValue(s)
	case asExpiry:
		return expiry(s)
	default:
		return s, nil
	}
}

// pairs makes an object of NAME=VALUE. An empty value removes the member.
func (a *app) pairs(list []string, fm form) (any, error) {
	out := map[string]any{}
	for _, s := range list {
		name, text, ok := strings.Cut(s, "=")
		if !ok || name == "" { // what is there may be a secret: it is not repeated
			return nil, errors.New("is not NAME=VALUE")
		}
		if text == "" {
			out[name] = nil
			continue
		}
		if fm == asSecretPairs {
			var err error
			if text, err = a.Secret(text); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		out[name] = text
	}
	return out, nil
}

// anyValue takes JSON as it is and anything else as text. A file may be JSON if it does not
// look like lines: a list of one number is no number.
func (a *app) anyValue(s string) (any, error) {
	path, isFile := strings.CutPrefix(s, "file:")
	if isFile {
		b, err := a.Read(path)
		if err != nil {
			return nil, err
		}
		s = string(b)
	}
	if json.Valid([]byte(s)) && (!isFile || strings.ContainsAny(s[:1], `[{"`)) {
		return json.RawMessage(s), nil
	}
	return s, nil
}

func checkNumber(s string) error {
	var n json.Number
	if err := json.Unmarshal([]byte(s), &n); err != nil || strings.HasPrefix(s, `"`) {
		return fmt.Errorf("%q is not a number", s)
	}
	return nil
}

// expiry gives the time that is a duration from now; never is null.
func expiry(s string) (any, error) {
	if s == "never" {
		return nil, nil
	}
	days, isDays := strings.CutSuffix(s, "d")
	if isDays {
		s = days + "h"
	}
	d, err := time.ParseDuration(s)
	if isDays {
		d *= 24
	}
	if err != nil || d <= 0 {
		return nil, errors.New("is not a duration such as 12h, 30d or never")
	}
	return time.Now().Add(d).UTC().Format(time.RFC3339), nil
}

// put sets a member of a document; the path has dots.
func put(doc map[string]any, path string, v any) {
	head, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		doc[head] = v
		return
	}
	inner, ok := doc[head].(map[string]any)
	if !ok {
		inner = map[string]any{}
		doc[head] = inner
	}
	put(inner, rest, v)
}
