package chattemplate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"
)

// The calls that guard puts into a template.
const (
	nameStep = "conclave_step_" // in the body of a loop
	nameCall = "conclave_call_" // in the body of a macro
	nameShow = "conclave_show_" // around what is written
	nameKeep = "conclave_keep_" // around what is kept in a variable
)

// A tag is what stands in braces in a template: source[start:end], with its braces.
type tag struct {
	kind       byte // '{' writes, '%' does, '#' comments
	start, end int
	line       int
	word       string // the first of a statement
}

// inner is what stands between the braces and their dashes or pluses.
func (t *tag) inner(source string) (before, body, after string) {
	whole := source[t.start:t.end]
	before, after = whole[:2], whole[len(whole)-2:]
	body = whole[2 : len(whole)-2]
	if body != "" && (body[0] == '-' || body[0] == '+') {
		before, body = before+body[:1], body[1:]
	}
	if n := len(body); n > 0 && (body[n-1] == '-' || body[n-1] == '+') {
		after, body = body[n-1:]+after, body[:n-1]
	}
	return before, body, after
}

// unsupported refuses what the library would read otherwise than Jinja does.
func (t *tag) unsupported(source string) error {
	before, body, after := t.inner(source)
	switch {
	case strings.Contains(before+after, "+"):
		return fmt.Errorf("line %d: a + beside the braces is not supported", t.line)
	case t.kind == '%' && firstWord(body) == "raw":
		return fmt.Errorf("line %d: the block raw is not supported: write the braces as {{ '{{' }}", t.line)
	}
	return nil
}

// closers are the statements that end others.
var closers = map[string]string{
	"endif": "if", "endfor": "for", "endmacro": "macro", "endcall": "call", "endfilter": "filter", "endgeneration": "generation", "endset": "set",
}

// maxDepth bounds the nesting of blocks: the library descends into each.
const maxDepth = 100

// scan finds the tags of a template, and refuses blocks that are not closed, by line.
func scan(source string) ([]tag, error) {
	var tags []tag
	var open []*tag
	line, counted := 1, 0
	for i := 0; ; {
		at := strings.IndexByte(source[i:], '{')
		if at < 0 || i+at+1 >= len(source) {
			break
		}
		if i += at; !strings.ContainsRune("{%#", rune(source[i+1])) {
			i++
			continue
		}
		line += strings.Count(source[counted:i], "\n")
		counted = i
		t := tag{kind: source[i+1], start: i, line: line}
		n := tagEnd(source[i:], t.kind)
		if n < 0 {
			return nil, fmt.Errorf("line %d: a tag is not closed", line)
		}
		t.end = i + n
		i = t.end
		if err := t.unsupported(source); err != nil {
			return nil, err
		}
		if t.kind == '%' {
			_, body, _ := t.inner(source)
			t.word = firstWord(body)
			if err := nest(&open, &t, body); err != nil {
				return nil, err
			}
		}
		tags = append(tags, t)
	}
	if n := len(open); n > 0 {
		return nil, fmt.Errorf("line %d: the block %s is not closed", open[n-1].line, open[n-1].word)
	}
	return tags, nil
}

var (
	isWord = regexp.MustCompile(`^\s*(\w+)`)
	setOf  = regexp.MustCompile(`^\s*set\s+[\w.]+\s*=([^=][\s\S]*)$`)
	// setBlock opens a block whose text is kept: there is no "=".
	setBlock = regexp.MustCompile(`^\s*set\s+[\w.]+\s*(\|[\s\S]*)?$`)
)

func firstWord(body string) string {
	m := isWord.FindStringSubmatch(body)
	if m == nil {
		return ""
	}
	return m[1]
}

// nest keeps the stack of open blocks.
func nest(open *[]*tag, t *tag, body string) error {
	n := len(*open)
	opener, closes := closers[t.word]
	switch {
	case closes && (n == 0 || (*open)[n-1].word != opener):
		return fmt.Errorf("line %d: %s closes nothing", t.line, t.word)
	case closes:
		*open = (*open)[:n-1]
	case t.word == "set" && !setBlock.MatchString(body):
	case isOpener(t.word):
		if n == maxDepth {
			return fmt.Errorf("line %d: blocks are nested more than %d deep", t.line, maxDepth)
		}
		mine := *t
		*open = append(*open, &mine)
	}
	return nil
}

func isOpener(word string) bool {
	for _, o := range closers {
		if o == word {
			return true
		}
	}
	return false
}

// tagEnd is the size of the tag at the beginning of s, -1 if it does not end. Braces in quotes do
// not end one, but for a comment, which has none.
func tagEnd(s string, kind byte) int {
	end := string(kind) + "}"
	if kind == '{' {
		end = "}}"
	}
	if kind == '#' {
		if i := strings.Index(s[2:], end); i >= 0 {
			return i + 4
		}
		return -1
	}
	for i, depth := 2, 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'' || c == '"':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case depth <= 0 && strings.HasPrefix(s[i:], end):
			return i + 2
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
	}
	return -1
}

// guard puts the calls into a template. It adds no line. A blank between what is written and a
// statement on the same line, which the library would lose, is made something that is written.
func guard(source string, tags []tag) string {
	var b strings.Builder
	b.Grow(len(source) + 40*len(tags))
	from := 0
	for i := range tags {
		t := &tags[i]
		text := source[from:t.start]
		if i > 0 && lostBlank(source, &tags[i-1], t, text, from) {
			b.WriteString(`{{ "` + text + `" }}`)
		} else {
			b.WriteString(text)
		}
		b.WriteString(guarded(source, t))
		from = t.end
	}
	b.WriteString(source[from:])
	return b.String()
}

// lostBlank says whether the text between two tags is blanks that must be written.
func lostBlank(source string, last, next *tag, text string, from int) bool {
	return text != "" && strings.Trim(text, " \t") == "" && from == last.end && last.kind == '{' && next.kind != '{' &&
		!strings.HasSuffix(source[:last.end], "-}}") && source[next.start+2] != '-'
}

func guarded(source string, t *tag) string {
	before, body, after := t.inner(source)
	whole := source[t.start:t.end]
	switch {
	case t.kind == '{':
		return before + " " + nameShow + "((" + body + ")) " + after
	case t.kind != '%':
		return whole
	case t.word == "for":
		return whole + statement(nameStep, after)
	case t.word == "macro":
		return whole + statement(nameCall, after)
	case t.word == "set":
		if m := setOf.FindStringSubmatchIndex(body); m != nil {
			return before + body[:m[2]] + " " + nameKeep + "((" + body[m[2]:m[3]] + ")) " + after
		}
	}
	return whole
}

// statement is a call that writes nothing, and trims what the tag before it would.
func statement(name, after string) string {
	return "{% set " + name + "x = " + name + "() " + after
}

// run counts what a run does.
type run struct {
	ends           time.Time
	steps, calls   int
	written, since int
}

func (r *run) step([]jinja.Value, map[string]jinja.Value) (jinja.Value, error) {
	if r.steps++; r.steps > maxSteps {
		return jinja.Undefined(), ErrSteps
	}
	return jinja.None(), r.clock()
}

func (r *run) call([]jinja.Value, map[string]jinja.Value) (jinja.Value, error) {
	if r.calls++; r.calls > maxCalls {
		return jinja.Undefined(), ErrSteps
	}
	return jinja.None(), r.clock()
}

// clock looks at the clock now and then.
func (r *run) clock() error {
	if r.since++; r.since%64 == 0 && time.Now().After(r.ends) {
		return ErrTime
	}
	return nil
}

func (r *run) show(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	v, err := only(args)
	if err == nil && v.IsString() {
		if r.written += len(v.AsString()); r.written > MaxOutput {
			err = ErrOutput
		}
	}
	return v, err
}

// keep refuses to keep what is too large to be written.
func keep(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	v, err := only(args)
	if err == nil && v.IsString() && len(v.AsString()) > MaxOutput {
		err = ErrOutput
	}
	return v, err
}

func only(args []jinja.Value) (jinja.Value, error) {
	if len(args) != 1 {
		return jinja.Undefined(), errors.New("a tag must hold one expression")
	}
	return args[0], nil
}

// refuse is raise_exception.
func refuse(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	message := "the template refuses the conversation"
	if len(args) > 0 {
		if message = args[0].String(); args[0].IsString() {
			message = args[0].AsString()
		}
	}
	return jinja.Undefined(), &Refusal{Message: message}
}

// numbers is range, of no more numbers than a run has steps.
func numbers(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	from, to, by := int64(0), int64(0), int64(1)
	for _, a := range args {
		if !a.IsInt() {
			return jinja.Undefined(), errors.New("range takes whole numbers")
		}
	}
	switch len(args) {
	case 1:
		to = args[0].AsInt()
	case 2:
		from, to = args[0].AsInt(), args[1].AsInt()
	case 3:
		from, to, by = args[0].AsInt(), args[1].AsInt(), args[2].AsInt()
	}
	if by == 0 || len(args) == 0 || len(args) > 3 {
		return jinja.Undefined(), errors.New("range takes one to three numbers, the last of which is not 0")
	}
	var list []jinja.Value
	for n := from; by > 0 && n < to || by < 0 && n > to; n += by {
		if len(list) == maxSteps {
			return jinja.Undefined(), ErrSteps
		}
		list = append(list, jinja.NewInt(n))
	}
	return jinja.NewList(list), nil
}

// formats are what strftime_now knows of strftime, in Go's words.
var formats = strings.NewReplacer(
	"%Y", "2006", "%y", "06", "%m", "01", "%d", "02", "%B", "January", "%b", "Jan", "%A", "Monday", "%a", "Mon",
	"%H", "15", "%I", "03", "%M", "04", "%S", "05", "%p", "PM", "%%", "%",
)

// strftime is strftime_now: today, which many templates tell the model.
func strftime(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
	if len(args) != 1 || !args[0].IsString() {
		return jinja.Undefined(), errors.New("strftime_now takes one text")
	}
	return jinja.NewString(time.Now().UTC().Format(formats.Replace(args[0].AsString()))), nil
}

var (
	hasLine  = regexp.MustCompile(`line (\d+)`)
	hasName  = regexp.MustCompile(`"([^"]+)"`)
	internal = regexp.MustCompile(`conclave_(step|call|show|keep)_`)
)

// located is an error of the library's with the line that it is about: the one that it names, else
// that of the first tag that holds what it quotes.
func located(source string, tags []tag, err error) error {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "jinja parse: "), "jinja scan: ")
	if internal.MatchString(text) {
		text = "the tag cannot be read"
	}
	if hasLine.MatchString(text) {
		return errors.New(text)
	}
	if m := hasName.FindStringSubmatch(text); m != nil {
		for i := range tags {
			if strings.Contains(source[tags[i].start:tags[i].end], m[1]) {
				return fmt.Errorf("line %d: %w", tags[i].line, err)
			}
		}
	}
	return err
}
