package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Request makes the request of a call. Its address is below base, whatever the arguments say.
func (o *Operation) Request(ctx context.Context, base *url.URL, arguments json.RawMessage) (*http.Request, error) {
	args := map[string]any{}
	if len(bytes.TrimSpace(arguments)) > 0 {
		dec := json.NewDecoder(bytes.NewReader(arguments))
		dec.UseNumber()
		if err := dec.Decode(&args); err != nil {
			return nil, fmt.Errorf("the arguments are no JSON object: %w", err)
		}
	}
	if err := o.known(args); err != nil {
		return nil, err
	}
	path, query, header := o.path, url.Values{}, http.Header{}
	for _, p := range o.params {
		v, ok := args[p.argument]
		if !ok || v == nil {
			if p.required {
				return nil, fmt.Errorf("the argument %q is missing", p.argument)
			}
			continue
		}
		var err error
		switch p.in {
		case "path":
			path, err = p.inPath(path, v)
		case "query":
			err = p.inQuery(query, v)
		case "header":
			var text string
			if text, err = p.text(v); err == nil && strings.ContainsAny(text, "\r\n\x00") {
				err = fmt.Errorf("the argument %q has a line end", p.argument)
			}
			header.Set(p.name, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return o.request(ctx, base, path, query, header, args)
}

func (o *Operation) request(ctx context.Context, base *url.URL, path string, query url.Values, header http.Header, args map[string]any) (*http.Request, error) {
	u := strings.TrimRight(base.Scheme+"://"+base.Host+base.EscapedPath(), "/") + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	var body io.Reader
	if v, ok := args[o.body]; ok && o.body != "" {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("write body: %w", err)
		}
		body = bytes.NewReader(b)
		header.Set("Content-Type", "application/json")
	}
	r, err := http.NewRequestWithContext(ctx, o.method, u, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if r.URL.Host != base.Host || r.URL.Scheme != base.Scheme {
		return nil, fmt.Errorf("the arguments lead to another host")
	}
	header.Set("Accept", "application/json, text/*;q=0.9, */*;q=0.1")
	r.Header = header
	return r, nil
}

// known refuses arguments that the operation does not have: a model that makes one up should learn of it.
func (o *Operation) known(args map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if name != o.body && !slices.ContainsFunc(o.params, func(p param) bool { return p.argument == name }) {
			return fmt.Errorf("there is no argument %.100q", name)
		}
	}
	return nil
}

// inPath puts a value into the path, as one segment of it that leads nowhere else.
func (p *param) inPath(path string, v any) (string, error) {
	text, err := p.text(v)
	if err != nil {
		return "", err
	}
	if text == "" || text == "." || text == ".." {
		return "", fmt.Errorf("the argument %q cannot be %q: it is a part of the path", p.argument, text)
	}
	return strings.ReplaceAll(path, "{"+p.name+"}", url.PathEscape(text)), nil
}

// inQuery adds a value: a list as several, or with commas, and an object as one of JSON.
func (p *param) inQuery(q url.Values, v any) error {
	list, ok := v.([]any)
	if !ok {
		text, err := p.text(v)
		q.Set(p.name, text)
		return err
	}
	var texts []string
	for _, one := range list {
		text, err := p.text(one)
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	if p.explode {
		q[p.name] = texts
	} else {
		q.Set(p.name, strings.Join(texts, ","))
	}
	return nil
}

// text is a value as a part of an address.
func (p *param) text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		return v.String(), nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}
