package secrets

import (
	_ "embed" // the rules
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// rulesFile is one rule a line: id, keywords, least entropy, group of the secret, expression, and an
// expression of what is no secret. They are gitleaks' rules, without those that read names of files;
// rules.LICENSE is their licence.
//
//go:embed rules.tsv
var rulesFile string

// generic is the rule that guesses by the name of a variable.
const generic = "generic-api-key"

// rule is one kind of secret.
type rule struct {
	id       string
	keywords []string // of which one stands in or near the secret, in lower case
	entropy  float64  // bits per byte that the secret has at least
	group    int      // of the secret; 0: the first that matched, else the whole match
	source   string
	noSource string

	compile sync.Once
	re, no  *regexp.Regexp
}

// readRules reads the shipped rules.
func readRules() ([]*rule, error) {
	var all []*rule
	for i, line := range strings.Split(strings.TrimSuffix(rulesFile, "\n"), "\n") {
		if i == 0 {
			continue // names of the columns
		}
		f := strings.Split(line, "\t")
		if len(f) != 6 {
			return nil, fmt.Errorf("rule %d has %d fields", i, len(f))
		}
		r := &rule{id: f[0], keywords: strings.Split(f[1], ","), source: f[4], noSource: f[5]}
		var err error
		if r.entropy, err = strconv.ParseFloat(f[2], 64); err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.id, err)
		}
		if r.group, err = strconv.Atoi(f[3]); err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.id, err)
		}
		all = append(all, r)
	}
	return append(all, &rule{id: "private-key", keywords: []string{"private key"}, source: privateKey}), nil
}

// privateKey matches a key in PEM up to its end, or to the end of the text if that is not there.
const privateKey = `(?i)-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:KEY(?: BLOCK)?-----|\z)`

// expressions are compiled when a keyword is first seen: most never are.
func (r *rule) expressions() (re, no *regexp.Regexp) {
	r.compile.Do(func() {
		r.re = regexp.MustCompile(r.source)
		if r.noSource != "" {
			r.no = regexp.MustCompile(r.noSource)
		}
	})
	return r.re, r.no
}

// secret is where the secret stands in a match, and false if it looks like none.
func (r *rule) secret(text string, m []int) (start, end int, ok bool) {
	g := r.group
	for i := 1; g == 0 && 2*i < len(m); i++ {
		if m[2*i] >= 0 && m[2*i] < m[2*i+1] {
			g = i
		}
	}
	start, end = m[2*g], m[2*g+1]
	if start < 0 || start == end {
		return 0, 0, false
	}
	s := text[start:end]
	if _, no := r.expressions(); no != nil && no.MatchString(s) {
		return 0, 0, false
	}
	return start, end, r.entropy == 0 || entropy(s) > r.entropy
}

// entropy is Shannon's, in bits per byte.
func entropy(s string) float64 {
	var count [256]int
	for i := range len(s) {
		count[s[i]]++
	}
	bits := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}
