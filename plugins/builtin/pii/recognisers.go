package pii

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
)

// recogniser finds one kind of personal data. The names are Presidio's where it has one.
type recogniser struct {
	name   string
	at     place             // where each one begins
	digits int               // that each one has at least
	source string            // of an expression that is tried there
	check  func(string) bool // nil: the expression is enough
	fit    func(string) int  // how many bytes of a match are one, 0 for none; nil: all of them
	words  []string          // one of which must stand before it, in lower case: the number alone says little
	off    bool              // looked for only if the configuration names it

	compile sync.Once
	re      *regexp.Regexp
}

// near is how many bytes before a match are searched for a word.
const near = 100

// recognisers are all that there are. What matches the same bytes is taken for the first.
func recognisers() []*recogniser {
	return []*recogniser{
		{name: "EMAIL_ADDRESS", at: atMail, source: `[\pL\pN._%+\-]{1,64}@(?:[\pL\pN](?:[\pL\pN\-]{0,61}[\pL\pN])?\.)+\pL{2,24}`},
		{name: "CREDIT_CARD", at: atNumber, digits: 12, source: `[2-6]\d{3}[ -]?\d{4,6}[ -]?\d{4,5}(?:[ -]?\d{1,4})?(?:[ -]?\d{3})?`, fit: card},
		{name: "IBAN_CODE", at: atWord, digits: 8, source: `[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?`, fit: iban},
		{name: "US_SSN", at: atNumber, digits: 9, source: `\d{3}-\d{2}-\d{4}`, check: socialSecurity},
		{name: "US_ITIN", at: atNumber, digits: 9, source: `9\d{2}-(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])-\d{4}`},
		{name: "IP_ADDRESS", at: atNumber, digits: 4, source: `\d{1,3}(?:\.\d{1,3}){3,}`, check: address},
		{name: "IP_ADDRESS", at: atColon, source: `[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}`, check: address},
		{name: "MAC_ADDRESS", at: atColon, source: `[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}`},
		{name: "CRYPTO", at: atWord, source: `(?:bc1[ac-hj-np-z02-9]{25,59}|[13][1-9A-HJ-NP-Za-km-z]{25,34})`, words: []string{"btc", "bitcoin", "wallet", "address"}},
		{name: "CRYPTO", at: atWord, source: `0x[0-9a-fA-F]{40}`},
		{name: "BR_CNPJ", at: atNumber, digits: 14, source: `\d{2}\.?\d{3}\.?\d{3}/\d{4}-?\d{2}`, check: cnpj},
		{name: "BR_CPF", at: atNumber, digits: 11, source: `\d{3}\.\d{3}\.\d{3}-\d{2}`, check: cpf},
		{name: "FR_NIR", at: atNumber, digits: 13, source: `[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[ABab]) ?\d{3} ?\d{3} ?\d{2}`, check: french},
		{name: "ES_NIF", at: atWord, digits: 7, source: `[0-9XYZxyz]\d{7}-?[A-Za-z]`, check: spanish},
		{name: "IT_FISCAL_CODE", at: atWord, source: `(?i)[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]`, check: italian},
		{name: "UK_NINO", at: atWord, digits: 6, source: `(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]`},
		{name: "FI_PERSONAL_IDENTITY_CODE", at: atNumber, digits: 9, source: `\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]`, check: finnish},
		{name: "SG_NRIC_FIN", at: atWord, digits: 7, source: `[STFGM]\d{7}[A-Z]`, check: singaporean},
		{name: "IN_PAN", at: atWord, digits: 4, source: `[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]`},
		{name: "KR_RRN", at: atNumber, digits: 13, source: `\d{6}-[1-8]\d{6}`, check: korean},
		{name: "PL_PESEL", at: atNumber, digits: 11, source: `\d{11}`, check: pesel, words: []string{"pesel"}},
		{name: "DE_TAX_ID", at: atNumber, digits: 11, source: `\d{2} ?\d{3} ?\d{3} ?\d{3}`, check: german, words: []string{"steuer", "tax", "idnr", "tin"}},
		{name: "TR_NATIONAL_ID", at: atNumber, digits: 11, source: `\d{11}`, check: turkish, words: []string{"kimlik", "tckn", "tc no", "t.c."}},
		{name: "AU_ABN", at: atNumber, digits: 11, source: `\d{2} ?\d{3} ?\d{3} ?\d{3}`, check: business, words: []string{"abn", "business number"}},
		{name: "IN_AADHAAR", at: atNumber, digits: 12, source: `[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}`, check: verhoeff, words: []string{"aadhaar", "aadhar", "uidai"}},
		{name: "UK_NHS", at: atNumber, digits: 10, source: `\d{3}[ -]?\d{3}[ -]?\d{4}`, check: nhs, words: []string{"nhs", "health service"}},
		{name: "AU_MEDICARE", at: atNumber, digits: 10, source: `[2-6]\d{3}[ -]?\d{5}[ -]?\d`, check: medicare, words: []string{"medicare"}},
		{name: "SE_PERSONNUMMER", at: atNumber, digits: 10, source: `(?:\d{2})?\d{6}[-+]?\d{4}`, check: swedish, words: []string{"personnummer", "personal number", "samordningsnummer"}},
		{name: "TH_TNIN", at: atNumber, digits: 13, source: `\d-?\d{4}-?\d{5}-?\d{2}-?\d`, check: thai, words: []string{"thai", "citizen", "national id", "ประชาชน"}},
		{name: "NL_BSN", at: atNumber, digits: 9, source: `\d{9}`, check: bsn, words: []string{"bsn", "burgerservice", "sofi"}},
		{name: "CA_SIN", at: atNumber, digits: 9, source: `\d{3}[ -]?\d{3}[ -]?\d{3}`, check: luhn, words: []string{"sin", "social insurance", "assurance sociale"}},
		{name: "AU_TFN", at: atNumber, digits: 9, source: `\d{3} ?\d{3} ?\d{3}`, check: taxFile, words: []string{"tfn", "tax file"}},
		{name: "US_BANK_NUMBER", at: atNumber, digits: 8, source: `\d{8,17}`, words: []string{"account number", "account no", "acct", "bank account"}},
		{name: "US_DRIVER_LICENSE", at: atNumber | atWord, digits: 6, source: `[A-Z]{1,2}\d{6,13}|\d{7,9}`, words: []string{"driver's license", "driver license", "drivers license", "driving license"}},
		{name: "US_PASSPORT", at: atNumber | atWord, digits: 8, source: `[A-Z]?\d{8,9}`, words: []string{"passport"}},
		{name: "PHONE_NUMBER", at: atNumber, digits: 8, source: `\+\d[\d ().\-]{6,18}\d|\(\d{3}\) ?\d{3}[ .\-]\d{4}|\d{3}[ .\-]\d{3}[ .\-]\d{4}`, check: phone},
		{name: "PHONE_NUMBER", at: atNumber, digits: 8, source: `\d[\d ()/.\-]{6,18}\d`, check: phone, words: []string{"phone", "call", "mobile", "cell", "tel", "fax", "whatsapp", "telefon", "téléphone", "teléfono"}},
		{name: "DATE_OF_BIRTH", at: atNumber, digits: 4, source: `(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2}))`, words: []string{"birth", "born", "dob", "geboren", "geburt", "naissance", "nacimiento"}},
		{name: "UUID", at: atWord, off: true, source: `(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`},
		{name: "URL", at: atAddress, off: true, source: `(?i)https?://[^\s<>"'\x60]+`},
	}
}

// card is the longest beginning that is the number of a payment card.
func card(s string) int {
	for end := len(s); end >= 12; end-- {
		if n := len(digits(s[:end])); n >= 12 && n <= 19 && isDigit(s[end-1]) && (end == len(s) || !isDigit(s[end])) && luhn(s[:end]) {
			return end
		}
	}
	return 0
}

// swedish is the check of Sweden, of the last ten digits.
func swedish(s string) bool {
	d := digits(strings.ReplaceAll(s, "+", "-"))
	if len(d) != 10 && len(d) != 12 {
		return false
	}
	var ten strings.Builder
	for _, n := range d[len(d)-10:] {
		ten.WriteByte(byte('0' + n))
	}
	return luhn(ten.String())
}

// address says whether it is an address of the internet that names one machine.
func address(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && !a.IsUnspecified() && !a.IsLoopback()
}

// try looks at one place: the end of what begins there, or false. lower is the text in lower case.
func (r *recogniser) try(text, lower string, c *candidate) (end int, ok bool) {
	if r.at&c.is == 0 || c.digits < r.digits || c.start > 1 && text[c.start-1] == '.' && isDigit(text[c.start-2]) {
		return 0, false
	}
	r.compile.Do(func() { r.re = regexp.MustCompile("^(?:" + r.source + ")") })
	m := r.re.FindStringIndex(text[c.start:])
	if m == nil {
		return 0, false
	}
	end = c.start + m[1]
	if r.fit != nil {
		if end = c.start + r.fit(text[c.start:end]); end == c.start {
			return 0, false
		}
	}
	ok = scan.Bounded(text, c.start, end) && (r.check == nil || r.check(text[c.start:end])) && r.named(lower, c.start)
	return end, ok
}

// mentioned says whether one of the recogniser's words is in the text at all.
func (r *recogniser) mentioned(lower string) bool {
	return r.words == nil || slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(lower, w) })
}

// named says whether one of the recogniser's words stands before the place.
func (r *recogniser) named(lower string, at int) bool {
	if r.words == nil {
		return true
	}
	before := lower[max(0, at-near):at]
	for _, w := range r.words {
		if i := strings.LastIndex(before, w); i >= 0 && scan.Bounded(before, i, i+len(w)) || i >= 0 && len(w) > 5 {
			return true
		}
	}
	return false
}
