package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// Column is one column of a table: a title and the path of a member of the records.
type Column [2]string

// Tables says whether to print tables: if asked to, or on a terminal.
func (c *Console) Tables() (bool, error) {
	switch c.Output {
	case "table":
		return true, nil
	case "json":
		return false, nil
	case "":
		f, ok := c.Stdout.(*os.File)
		if !ok {
			return false, nil
		}
		info, err := f.Stat()
		return err == nil && info.Mode()&os.ModeCharDevice != 0, nil
	default:
		return false, fmt.Errorf("output %q is not one of table, json", c.Output)
	}
}

// WriteTo hands write a new file that only its owner may read, or the standard output where no
// file is named.
func (c *Console) WriteTo(file string, write func(io.Writer) error) error {
	if file == "" {
		return write(c.Stdout)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(out), out.Close())
}

// PrintList prints records, in a table with the columns or as JSON.
func (c *Console) PrintList(v any, items []map[string]any, columns []Column) error {
	table, err := c.Tables()
	if err != nil {
		return err
	}
	if !table {
		return c.PrintJSON(v)
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	titles := make([]string, 0, len(columns))
	for _, column := range columns {
		titles = append(titles, column[0])
	}
	fmt.Fprintln(w, strings.Join(titles, "\t"))
	for _, item := range items {
		cells := make([]string, 0, len(columns))
		for _, column := range columns {
			cells = append(cells, Text(At(item, column[1])))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// PrintOne prints one record, as lines of path and value or as JSON.
func (c *Console) PrintOne(v any) error {
	table, err := c.Tables()
	if err != nil {
		return err
	}
	if !table {
		return c.PrintJSON(v)
	}
	flat := map[string]string{}
	flatten("", Loose(v), flat)
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	first := []string{"id", "name", "secret"}
	for _, name := range first {
		if s, ok := flat[name]; ok {
			fmt.Fprintf(w, "%s\t%s\n", name, s)
			delete(flat, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(flat)) {
		fmt.Fprintf(w, "%s\t%s\n", name, flat[name])
	}
	return w.Flush()
}

// PrintJSON prints a value as JSON.
func (c *Console) PrintJSON(v any) error {
	enc := json.NewEncoder(c.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Loose gives v as JSON has it, numbers with all their digits.
func Loose(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var out any
	if dec.Decode(&out) != nil {
		return nil
	}
	return out
}

// LooseAll gives each of the items as JSON has it.
func LooseAll[V any](items []V) []map[string]any {
	out := make([]map[string]any, 0, len(items))
	for _, item := range items {
		m, _ := Loose(item).(map[string]any)
		out = append(out, m)
	}
	return out
}

// At returns the member of a record at the path "limits.rpm".
func At(item map[string]any, path string) any {
	var v any = item
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// Text writes a value into a cell.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return Printable(v)
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			parts = append(parts, Text(e))
		}
		return strings.Join(parts, ",")
	case map[string]any:
		if p, ok := v["fingerprint"]; ok {
			return "sealed:" + Text(p)
		}
		b, err := json.Marshal(v)
		if err != nil {
			return "-"
		}
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// Printable keeps what somebody put into a name from steering the terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

func flatten(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["fingerprint"]; ok && path != "" {
			into[path] = Text(v)
			return
		}
		for name, e := range v {
			flatten(strings.TrimPrefix(path+"."+name, "."), e, into)
		}
	case []any:
		if len(v) == 0 {
			return
		}
		if _, nested := v[0].(map[string]any); !nested {
			into[path] = Text(v)
			return
		}
		for i, e := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), e, into)
		}
	default:
		into[path] = Text(v)
	}
}
