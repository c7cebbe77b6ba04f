package consumer

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func der(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rdn(pairs ...any) (out pkix.RelativeDistinguishedNameSET) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, pkix.AttributeTypeAndValue{Type: pairs[i].(asn1.ObjectIdentifier), Value: pairs[i+1]})
	}
	return out
}

var (
	cn    = asn1.ObjectIdentifier{2, 5, 4, 3}
	o     = asn1.ObjectIdentifier{2, 5, 4, 10}
	c     = asn1.ObjectIdentifier{2, 5, 4, 6}
	dc    = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	mail  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	title = asn1.ObjectIdentifier{2, 5, 4, 12}
)

func TestNamesAreWrittenAsRFC4514Has(t *testing.T) {
	for _, test := range []struct {
		name pkix.RDNSequence
		want string
	}{
		{pkix.RDNSequence{}, ""},
		{pkix.RDNSequence{rdn(c, "DE"), rdn(o, "Partner Inc"), rdn(cn, "billing")}, "CN=billing,O=Partner Inc,C=DE"},
		{pkix.RDNSequence{rdn(cn, "billing"), rdn(o, "Partner Inc")}, "O=Partner Inc,CN=billing"},
		{pkix.RDNSequence{rdn(cn, "a", o, "b")}, "CN=a+O=b"},
		{pkix.RDNSequence{rdn(cn, `#a,b+"c\<d>;=e `)}, `CN=\#a\,b\+\"c\\\<d\>\;=e\ `},
		{pkix.RDNSequence{rdn(cn, " a")}, `CN=\ a`},
		{pkix.RDNSequence{rdn(cn, "a\x00b\n")}, `CN=a\00b\0A`},
		{pkix.RDNSequence{rdn(cn, "Grüße")}, "CN=Grüße"},
		{pkix.RDNSequence{rdn(dc, "example"), rdn(mail, "a@b.example")}, "emailAddress=a@b.example,DC=example"},
		{pkix.RDNSequence{rdn(title, "boss")}, "2.5.4.12=#1304626f7373"},
		{pkix.RDNSequence{rdn(cn, 7)}, "CN=#020107"},
	} {
		got, err := FormatDN(der(t, test.name))
		if err != nil || got != test.want {
			t.Errorf("%v: %q %v, want %q", test.name, got, err, test.want)
		}
	}
	for _, bad := range [][]byte{nil, {0x30}, {4, 0}, append(der(t, pkix.RDNSequence{}), 0)} {
		if got, err := FormatDN(bad); err == nil {
			t.Errorf("%x was read as %q", bad, got)
		}
	}
}

func TestNamesThatDifferAreSpelledDifferently(t *testing.T) {
	seen := map[string]int{}
	for i, name := range []pkix.RDNSequence{
		{rdn(cn, "a"), rdn(o, "b")}, {rdn(o, "b"), rdn(cn, "a")}, {rdn(cn, "a", o, "b")},
		{rdn(cn, "a,O=b")}, {rdn(cn, "a+O=b")}, {rdn(cn, "A"), rdn(o, "b")}, {rdn(cn, "a "), rdn(o, "b")},
		{rdn(cn, "a"), rdn(o, "b"), rdn(o, "b")}, {rdn(cn, "#0101")}, {rdn(cn, true)},
	} {
		s, err := FormatDN(der(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[s]; twice {
			t.Errorf("names %d and %d are both %q", other, i, s)
		}
		seen[s] = i
	}
}

func TestNamesAreReadAsOperatorsWriteThem(t *testing.T) {
	for in, want := range map[string]string{
		"CN=billing,O=Partner Inc,C=DE":      "CN=billing,O=Partner Inc,C=DE",
		"cn = billing , o=Partner Inc, C=DE": "CN=billing,O=Partner Inc,C=DE",
		"2.5.4.3=a":                          "CN=a",
		`CN=a\, b\20,O=\23x`:                 `CN=a\, b\ ,O=\#x`,
		`CN=Gr\C3\BC\C3\9Fe`:                 "CN=Grüße",
		"CN=a+O=b":                           "CN=a+O=b",
		"CN=":                                "CN=",
		"2.5.4.12=#1304626F7373":             "2.5.4.12=#1304626f7373",
		"E=x":                                "",
		"/C=DE/CN=billing":                   "",
		"billing":                            "",
		`CN=a;O=b`:                           "",
		`CN=a\`:                              "",
		`CN=a\zz`:                            "",
		"CN=#xyz":                            "",
		"CN=a,":                              "",
		"":                                   "",
	} {
		got, err := ParseDN(in)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
		if want != "" {
			if again, err := ParseDN(got); err != nil || again != got {
				t.Errorf("%q is not read back: %q %v", got, again, err)
			}
		}
	}
}

// FuzzFormatDN: whatever a certificate says is written so that an operator can
// write it too.
func FuzzFormatDN(f *testing.F) {
	f.Add(der(f, pkix.RDNSequence{rdn(c, "DE"), rdn(o, "Partner, Inc"), rdn(cn, `#x "y"\ `, title, "boss")}))
	f.Add(der(f, pkix.RDNSequence{rdn(cn, 7)}))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := FormatDN(data)
		if err != nil || s == "" {
			return
		}
		again, err := ParseDN(s)
		if strings.HasPrefix(s, ",") || strings.HasSuffix(s, ",") || strings.Contains(s, ",,") {
			return // empty parts, which no certificate of a CA has
		}
		if err != nil || again != s {
			t.Fatalf("%x is written %q and read %q, %v", data, s, again, err)
		}
	})
}
