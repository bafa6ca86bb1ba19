package pii

import "strings"

// digits are those of a text, and nil if there is anything but digits and separators in it.
func digits(s string) []int {
	out := make([]int, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			out = append(out, int(c-'0'))
		case c != ' ' && c != '-' && c != '.' && c != '/':
			return nil
		}
	}
	return out
}

// same says that all digits are alike: such numbers are examples.
func same(d []int) bool {
	for _, n := range d {
		if n != d[0] {
			return false
		}
	}
	return true
}

// luhn is the check of payment cards (ISO/IEC 7812).
func luhn(s string) bool {
	d := digits(s)
	if len(d) < 2 || same(d) {
		return false
	}
	sum := 0
	for i := range d {
		n := d[len(d)-1-i]
		if i%2 == 1 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	return sum%10 == 0
}

// weighted says that the digits, each times its weight, add up to a multiple of mod.
func weighted(s string, mod int, weights ...int) bool {
	d := digits(s)
	if len(d) != len(weights) || same(d) {
		return false
	}
	sum := 0
	for i, w := range weights {
		sum += d[i] * w
	}
	return sum%mod == 0
}

// mod97 is the check of bank accounts (ISO 7064, MOD 97-10): letters count from 10.
func mod97(s string) bool {
	s = strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	if len(s) < 5 {
		return false
	}
	rest := 0
	for _, c := range s[4:] + s[:4] {
		switch {
		case c >= '0' && c <= '9':
			rest = (rest*10 + int(c-'0')) % 97
		case c >= 'A' && c <= 'Z':
			rest = (rest*100 + int(c-'A') + 10) % 97
		default:
			return false
		}
	}
	return rest == 1
}

// ibanLengths are those of the registry (ISO 13616) by country.
var ibanLengths = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
	"CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22,
	"GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30,
	"KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27,
	"MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31,
	"SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}

// iban is the beginning that is the number of a bank account, as long as its country's are.
func iban(s string) int {
	want := ibanLengths[s[:2]]
	for i := range len(s) {
		if s[i] != ' ' {
			want--
		}
		if want == 0 && mod97(s[:i+1]) {
			return i + 1
		}
	}
	return 0
}

// verhoeff is the check of Aadhaar: its tables are those of the dihedral group of order 10.
func verhoeff(s string) bool {
	d := digits(s)
	if len(d) == 0 || same(d) {
		return false
	}
	multiply := func(a, b int) int {
		switch {
		case a < 5 && b < 5:
			return (a + b) % 5
		case a < 5:
			return (a+b)%5 + 5
		case b < 5:
			return (a-b+5)%5 + 5
		default:
			return (a - b + 5) % 5
		}
	}
	turn := [10]int{1, 5, 7, 6, 2, 8, 3, 0, 9, 4}
	c := 0
	for i := range d {
		n := d[len(d)-1-i]
		for range i % 8 {
			n = turn[n]
		}
		c = multiply(c, n)
	}
	return c == 0
}

// cpf is the check of Brazil's numbers of people.
func cpf(s string) bool { return brazilian(s, 11) }

// cnpj is that of its companies.
func cnpj(s string) bool { return brazilian(s, 14) }

// brazilian checks the last two digits, whose weights go from 2 up to 9, or 11, and again.
func brazilian(s string, size int) bool {
	d := digits(s)
	if len(d) != size || same(d) {
		return false
	}
	most := 9
	if size == 11 {
		most = 11
	}
	for _, n := range []int{size - 2, size - 1} {
		sum, w := 0, 2
		for i := n - 1; i >= 0; i-- {
			sum += d[i] * w
			if w++; w > most {
				w = 2
			}
		}
		if want := (11 - sum%11) % 11 % 10; d[n] != want {
			return false
		}
	}
	return true
}

// german is the check of Germany's tax numbers (ISO 7064, MOD 11,10).
func german(s string) bool {
	d := digits(s)
	if len(d) != 11 || d[0] == 0 || same(d) {
		return false
	}
	product := 10
	for _, n := range d[:10] {
		sum := (n + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	return d[10] == (11-product)%10
}

// spanish is the check letter of Spain's numbers of people.
func spanish(s string) bool {
	s = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(s))
	if len(s) != 9 {
		return false
	}
	if i := strings.IndexByte("XYZ", s[0]); i >= 0 {
		s = string(rune('0'+i)) + s[1:]
	}
	n := 0
	for _, c := range s[:8] {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return "TRWAGMYFPDXBNJZSQVHLCKE"[n%23] == s[8]
}

// italian is the check letter of Italy's codice fiscale.
func italian(s string) bool {
	odd := [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	s = strings.ToUpper(s)
	if len(s) != 16 {
		return false
	}
	sum := 0
	for i, c := range s[:15] {
		n := int(c - '0')
		if c >= 'A' {
			n = int(c-'A') + 10
		}
		switch {
		case n < 0 || n > 35:
			return false
		case i%2 == 0:
			sum += odd[n]
		case n >= 10:
			sum += n - 10
		default:
			sum += n
		}
	}
	return int(s[15]-'A') == sum%26
}

// french is the key of France's numbers of insured people.
func french(s string) bool {
	s = strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	if len(s) != 15 {
		return false
	}
	body := strings.NewReplacer("2A", "19", "2B", "18").Replace(s[5:7])
	n := 0
	for _, c := range s[:5] + body + s[7:13] {
		if c < '0' || c > '9' {
			return false
		}
		n = (n*10 + int(c-'0')) % 97
	}
	key := digits(s[13:])
	return len(key) == 2 && 97-n == key[0]*10+key[1]
}

// finnish is the check character of Finland's personal identity codes.
func finnish(s string) bool {
	if len(s) != 11 {
		return false
	}
	n := 0
	for _, c := range s[:6] + s[7:10] {
		if c < '0' || c > '9' {
			return false
		}
		n = (n*10 + int(c-'0')) % 31
	}
	return "0123456789ABCDEFHJKLMNPRSTUVWXY"[n] == strings.ToUpper(s)[10]
}

// singaporean is the check letter of Singapore's identity cards.
func singaporean(s string) bool {
	s = strings.ToUpper(s)
	if len(s) != 9 {
		return false
	}
	sum := 0
	for i, w := range [...]int{2, 7, 6, 5, 4, 3, 2} {
		sum += int(s[i+1]-'0') * w
	}
	switch s[0] {
	case 'T':
		sum += 4
	case 'G':
		sum += 4
	case 'M':
		return "KLJNPQRTUWX"[10-(sum+3)%11] == s[8]
	}
	if s[0] == 'S' || s[0] == 'T' {
		return "JZIHGFEDCBA"[sum%11] == s[8]
	}
	return "XWUTRQPNMLK"[sum%11] == s[8]
}

// socialSecurity says whether the United States give out such numbers.
func socialSecurity(s string) bool {
	d := digits(s)
	if len(d) != 9 || same(d) {
		return false
	}
	area, group, serial := d[0]*100+d[1]*10+d[2], d[3]*10+d[4], d[5]*1000+d[6]*100+d[7]*10+d[8]
	return area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

// phone says whether there are as many digits as a number that is called has.
func phone(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			n++
		}
	}
	return n >= 8 && n <= 15
}

// bsn is the check of the Netherlands.
func bsn(s string) bool { return weighted(s, 11, 9, 8, 7, 6, 5, 4, 3, 2, -1) }

// nhs is that of the United Kingdom's health service.
func nhs(s string) bool { return weighted(s, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1) }

// pesel is that of Poland.
func pesel(s string) bool { return weighted(s, 10, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1) }

// taxFile is that of Australia's tax office.
func taxFile(s string) bool { return weighted(s, 11, 1, 4, 3, 7, 5, 8, 6, 9, 10) }

// medicare is that of Australia's health insurance: the ninth digit is of the first eight.
func medicare(s string) bool {
	d := digits(s)
	if len(d) != 10 || d[0] < 2 || d[0] > 6 {
		return false
	}
	sum := 0
	for i, w := range [...]int{1, 3, 7, 9, 1, 3, 7, 9} {
		sum += d[i] * w
	}
	return sum%10 == d[8]
}

// business is that of Australia's businesses: the first digit counts one less.
func business(s string) bool {
	d := digits(s)
	if len(d) != 11 || d[0] == 0 {
		return false
	}
	sum := (d[0] - 1) * 10
	for i, w := range [...]int{1, 3, 5, 7, 9, 11, 13, 15, 17, 19} {
		sum += d[i+1] * w
	}
	return sum%89 == 0
}

// korean is the check of South Korea.
func korean(s string) bool {
	d := digits(s)
	if len(d) != 13 || same(d) {
		return false
	}
	sum := 0
	for i, w := range [...]int{2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5} {
		sum += d[i] * w
	}
	return (11-sum%11)%10 == d[12]
}

// thai is that of Thailand.
func thai(s string) bool {
	d := digits(s)
	if len(d) != 13 || same(d) {
		return false
	}
	sum := 0
	for i := range 12 {
		sum += d[i] * (13 - i)
	}
	return (11-sum%11)%10 == d[12]
}

// turkish is that of Turkey.
func turkish(s string) bool {
	d := digits(s)
	if len(d) != 11 || d[0] == 0 || same(d) {
		return false
	}
	odd, even := d[0]+d[2]+d[4]+d[6]+d[8], d[1]+d[3]+d[5]+d[7]
	return ((odd*7-even)%10+10)%10 == d[9] && (odd+even+d[9])%10 == d[10]
}
