package pii_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/plugins/builtin/pii"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/plugins/sdk/plugintest"
)

func configured(t testing.TB, config string) *pii.PII {
	t.Helper()
	p := &pii.PII{}
	if _, err := p.Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	return p
}

func check(t testing.TB, p *pii.PII, hook sdk.Hook, text string) sdk.Verdict {
	t.Helper()
	v, err := p.Check(t.Context(), &sdk.Check{Hook: hook, Info: sdk.Info{RequestID: "r"}, Texts: []sdk.Text{{Text: text}}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// masked is what becomes of a text.
func masked(t testing.TB, p *pii.PII, hook sdk.Hook, text string) string {
	if v := check(t, p, hook, text); len(v.Replacements) > 0 {
		return v.Replacements[0].Text
	}
	return text
}

func TestPII_Kinds(t *testing.T) {
	t.Parallel()
	p := configured(t, `{"entities":{"UUID":"mask","URL":"mask"}}`)
	for _, tt := range []struct{ kind, text, want string }{
		{"EMAIL_ADDRESS", "write to Jörg.O-x+y@mail.example.co.uk, please", "write to %, please"},
		{"CREDIT_CARD", "card 4111 1111 1111 1111 123", "card % 123"},
		{"CREDIT_CARD", "3782-822463-10005.", "%."},
		{"IBAN_CODE", "to GB82 WEST 1234 5698 7654 32 THEN wait", "to % THEN wait"},
		{"IBAN_CODE", "DE89370400440532013000", "%"},
		{"US_SSN", "ssn 536-22-8726", "ssn %"},
		{"US_ITIN", "my 912-70-1234", "my %"},
		{"IP_ADDRESS", "at 203.0.113.9:80", "at %:80"},
		{"IP_ADDRESS", "at 2001:db8::8a2e:370:7334 now", "at % now"},
		{"MAC_ADDRESS", "nic 00:1B:44:11:3A:B7", "nic %"},
		{"CRYPTO", "my btc address: 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "my btc address: %"},
		{"CRYPTO", "0xde0B295669a9FD93d5F28D9Ec85E40f4cb697BAe", "%"},
		{"BR_CPF", "529.982.247-25", "%"},
		{"BR_CNPJ", "11.222.333/0001-81", "%"},
		{"FR_NIR", "nir 2 55 08 14 168 025 38", "nir %"},
		{"ES_NIF", "12345678Z", "%"},
		{"ES_NIF", "X1234567L", "%"},
		{"IT_FISCAL_CODE", "RSSMRA85T10A562S", "%"},
		{"UK_NINO", "AB 12 34 56 C", "%"},
		{"FI_PERSONAL_IDENTITY_CODE", "131052-308T", "%"},
		{"SG_NRIC_FIN", "S1234567D", "%"},
		{"IN_PAN", "ABCPE1234F", "%"},
		{"PL_PESEL", "PESEL 44051401359", "PESEL %"},
		{"DE_TAX_ID", "Steuer-ID: 86 095 742 719", "Steuer-ID: %"},
		{"TR_NATIONAL_ID", "TCKN 10000000146", "TCKN %"},
		{"AU_ABN", "ABN 51 824 753 556", "ABN %"},
		{"IN_AADHAAR", "aadhaar 2363 4567 8904", "aadhaar %"},
		{"UK_NHS", "NHS no. 943 476 5919", "NHS no. %"},
		{"AU_MEDICARE", "medicare 2123 45670 1", "medicare %"},
		{"SE_PERSONNUMMER", "personnummer 811228-9874", "personnummer %"},
		{"NL_BSN", "BSN: 111222333", "BSN: %"},
		{"CA_SIN", "SIN 046 454 286", "SIN %"},
		{"AU_TFN", "tax file number 123 456 782", "tax file number %"},
		{"US_BANK_NUMBER", "account number 945456787654", "account number %"},
		{"US_PASSPORT", "passport: 912803456", "passport: %"},
		{"PHONE_NUMBER", "+49 30 901820 or later", "% or later"},
		{"PHONE_NUMBER", "(212) 555-0147", "%"},
		{"PHONE_NUMBER", "phone 030 / 90 18 20", "phone %"},
		{"DATE_OF_BIRTH", "born on 3/14/1985", "born on %"},
		{"UUID", "id 123e4567-e89b-12d3-a456-426614174000", "id %"},
		{"URL", "see https://example.com/a?b=c now", "see % now"},
	} {
		t.Run(tt.kind+" "+tt.text, func(t *testing.T) {
			t.Parallel()
			if got, want := masked(t, p, sdk.Before, tt.text), strings.ReplaceAll(tt.want, "%", "["+tt.kind+"]"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestPII_Spares(t *testing.T) {
	t.Parallel()
	p := configured(t, "")
	for _, text := range []string{
		"version 1.2.3.4.5 of 12:30:45", "order 4111111111111112", "ten 1234567890 things", "a@b", "127.0.0.1 and 0.0.0.0 and ::1",
		"GB82 WEST 1234 5698 7654 33", "the year 2024-01-02", "529.982.247-26", "uuid 123e4567-e89b-12d3-a456-426614174000", "https://example.com",
		"911 and 112", "x529-22-8726y", "code face:b00k", "sha 0xdeadbeef",
	} {
		if got := masked(t, p, sdk.Before, text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestPII_Configure(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"action":"x"}`:                    "action",
		`{"scope":"x"}`:                     "scope",
		`{"entities":{"PERSON":"mask"}}`:    "entities.PERSON: is not one of",
		`{"entities":{"URL":"no"}}`:         "entities.URL",
		`{"restore":true,"scope":"output"}`: "restore",
		`{"x":1}`:                           "x",
	} {
		if _, err := (&pii.PII{}).Configure(t.Context(), sdk.GuardrailSettings{Config: []byte(config)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

func TestPII_Actions(t *testing.T) {
	t.Parallel()
	p := configured(t, `{"only":true,"entities":{"EMAIL_ADDRESS":"mask","IBAN_CODE":"block","US_SSN":"flag"},"allow":["info@example.com"],"scope":"input"}`)
	if got := masked(t, p, sdk.Before, "info@example.com, me@example.com, 203.0.113.9, 536-22-8726"); got != "info@example.com, [EMAIL_ADDRESS], 203.0.113.9, 536-22-8726" {
		t.Errorf("got %q", got)
	}
	if v := check(t, p, sdk.Before, "DE89370400440532013000 and 536-22-8726"); v.Action != sdk.Block("").Action || fmt.Sprint(v.Findings) != "[IBAN_CODE US_SSN]" {
		t.Errorf("got %+v", v)
	}
	if got := masked(t, p, sdk.After, "me@example.com"); got != "me@example.com" {
		t.Errorf("an answer became %q", got)
	}
}

// A kind that is only reported hides nothing of another that it overlaps, and what is allowed is so as a whole.
func TestPII_Overlaps(t *testing.T) {
	t.Parallel()
	p := configured(t, `{"only":true,"entities":{"URL":"flag","EMAIL_ADDRESS":"mask"},"allow":["https://example.com/?to=us@example.com"]}`)
	for text, want := range map[string]string{
		"see https://example.com/?to=me@example.com": "see https://example.com/?to=[EMAIL_ADDRESS]",
		"see https://example.com/?to=us@example.com": "see https://example.com/?to=us@example.com",
	} {
		if got := masked(t, p, sdk.Before, text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	p = configured(t, `{"only":true,"entities":{"URL":"mask","EMAIL_ADDRESS":"block"}}`)
	if v := check(t, p, sdk.Before, "https://example.com/?to=me@example.com"); v.Action != sdk.Block("").Action {
		t.Errorf("got %+v, want a block", v)
	}
}

// What is masked in a request stands in the answer again, and nobody else's does.
func TestPII_Restore(t *testing.T) {
	t.Parallel()
	p := configured(t, `{"restore":true}`)
	asked := masked(t, p, sdk.Before, "mail a@example.com and b@example.com, then a@example.com")
	if asked != "mail [<EMAIL_ADDRESS_1>] and [<EMAIL_ADDRESS_2>], then [<EMAIL_ADDRESS_1>]" {
		t.Fatalf("got %q", asked)
	}
	const answer = "I wrote to [<EMAIL_ADDRESS_2>], not [<EMAIL_ADDRESS_3>] or c@example.com [<"
	const want = "I wrote to b@example.com, not [<EMAIL_ADDRESS_3>] or [EMAIL_ADDRESS] [<"
	if got := masked(t, p, sdk.After, answer); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, size := range []int{1, 2, 3, 7, 1000} {
		st, err := p.OpenStream(t.Context(), &sdk.Info{RequestID: "r"})
		if err != nil {
			t.Fatal(err)
		}
		var rs []sdk.Replacement
		for at := 0; at < len(answer); at += size {
			v, err := st.Chunk(t.Context(), []sdk.Part{{Channel: "c", Text: answer[at:min(len(answer), at+size)]}})
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, v.Replacements...)
		}
		v, err := st.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, at := "", 0
		for _, r := range append(rs, v.Replacements...) {
			got += answer[at:r.Start] + r.Text
			at = int(r.End)
		}
		if got += answer[at:]; got != want {
			t.Errorf("in pieces of %d: got %q, want %q", size, got, want)
		}
		st.Close()
	}
	v, err := p.Check(t.Context(), &sdk.Check{Hook: sdk.After, Info: sdk.Info{RequestID: "another"}, Texts: []sdk.Text{{Text: "[<EMAIL_ADDRESS_1>]"}}})
	if err != nil || len(v.Replacements) != 0 {
		t.Errorf("another request got %+v, %v", v, err)
	}
}

func TestPII_Conformance(t *testing.T) {
	t.Parallel()
	plugintest.Guardrail(t, func() sdk.Guardrail { return &pii.PII{} }, plugintest.GuardrailCase{
		Config: []byte(`{"action":"block"}`), Passes: "nobody is named", Stops: "the account is DE89370400440532013000, thanks",
	})
}

// However a stream is cut, what leaves is what a whole answer would be.
func FuzzPII(f *testing.F) {
	f.Add("mail a@example.com, +49 30 901820, DE89370400440532013000", 3)
	f.Add("4111 1111 1111 1111", 1)
	p := configured(f, "")
	f.Fuzz(func(t *testing.T, text string, size int) {
		text = strings.ToValidUTF8(text, "?")
		if size < 1 || len(text) > 1000 {
			return
		}
		st, err := p.OpenStream(t.Context(), &sdk.Info{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		got, at := "", 0
		for rest := text; ; rest = rest[min(len(rest), size):] {
			var v sdk.Verdict
			if rest == "" {
				v, err = st.End(t.Context())
			} else {
				v, err = st.Chunk(t.Context(), []sdk.Part{{Text: rest[:min(len(rest), size)]}})
			}
			if err != nil || v.Action == sdk.Block("").Action {
				return // one that is longer than what is held back
			}
			for _, r := range v.Replacements {
				got += text[at:r.Start] + r.Text
				at = int(r.End)
			}
			if rest == "" {
				break
			}
		}
		if got, want := got+text[at:], masked(t, p, sdk.After, text); got != want {
			t.Errorf("%q in pieces of %d: got %q, want %q", text, size, got, want)
		}
	})
}

func BenchmarkPII(b *testing.B) {
	p := configured(b, "")
	text := strings.Repeat("The meeting on 2026-01-05 had 17 people in room 4.12; they spoke of orders 1234567 and 7654321, and of Q3. ", 100)[:10_000]
	b.ReportAllocs()
	for b.Loop() {
		check(b, p, sdk.Before, text)
	}
}
