package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Now()

func authority(t testing.TB, cluster string) *Authority {
	t.Helper()
	a, err := New(cluster, Days(now, 100))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *Authority, node string, also ...*Authority) *Identity {
	t.Helper()
	id, err := a.Issue(node, Days(now, 10), also...)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// saved is an authority and a node of it, in directories.
func saved(t testing.TB) (authorityDir, nodeDir string) {
	t.Helper()
	authorityDir, nodeDir = filepath.Join(t.TempDir(), "deep", "ca"), filepath.Join(t.TempDir(), "a.tls")
	a := authority(t, "here")
	if err := a.Save(authorityDir); err != nil {
		t.Fatal(err)
	}
	if err := issue(t, a, "a").Save(nodeDir, false); err != nil {
		t.Fatal(err)
	}
	return authorityDir, nodeDir
}

func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one about %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error is %q, without %q", err, w)
		}
	}
}

func TestWhatIsSavedIsLoadedAsItWas(t *testing.T) {
	authorityDir, nodeDir := saved(t)
	a, err := Open(authorityDir)
	if err != nil {
		t.Fatal(err)
	}
	if a.Cluster() != "here" || !a.Period().Until.After(now.AddDate(0, 0, 99)) {
		t.Errorf("authority of %q until %v", a.Cluster(), a.Period().Until)
	}
	id, err := Load(nodeDir)
	if err != nil {
		t.Fatal(err)
	}
	if id.Name() != (Name{"here", "a"}) {
		t.Errorf("name is %v", id.Name())
	}
	again := issue(t, a, "b")
	if !bytes.Equal(again.GossipKeys()[0], id.GossipKeys()[0]) || len(id.GossipKeys()[0]) != 32 {
		t.Error("two nodes of one authority have different gossip keys")
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		for _, id := range []*Identity{id, again} {
			leaf := id.Certificate().Leaf
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: ServerName, Roots: id.Roots(), KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%v: %v", id.Name(), err)
			}
		}
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	authorityDir, nodeDir := saved(t)
	for _, dir := range []string{authorityDir, nodeDir} {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 3 {
			t.Fatalf("%v, %v", files, err)
		}
		for path, mode := range map[string]fs.FileMode{dir: 0o700, files[0]: 0o600, files[1]: 0o600, files[2]: 0o600, files[len(files)-1]: 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s has mode %v, want %v; %v", path, info.Mode(), mode, err)
			}
		}
	}
}

func TestNothingIsOverwrittenUnlessAskedFor(t *testing.T) {
	authorityDir, nodeDir := saved(t)
	before := contents(t, authorityDir)
	if err := authority(t, "here").Save(authorityDir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saving an authority over another: %v", err)
	}
	if contents(t, authorityDir) != before {
		t.Error("the authority has changed")
	}
	a, err := Open(authorityDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(nodeDir, authorityCert)); err != nil { // one that is left is enough
		t.Fatal(err)
	}
	before = contents(t, nodeDir)
	if err := issue(t, a, "a").Save(nodeDir, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saving a node over another: %v", err)
	}
	if contents(t, nodeDir) != before {
		t.Error("the node has changed")
	}
	if err := issue(t, a, "b").Save(nodeDir, true); err != nil {
		t.Fatal(err)
	}
	if id, err := Load(nodeDir); err != nil || id.Name().Node != "b" {
		t.Errorf("replaced: %v", err)
	}
}

// contents is the names and contents of a directory's files, one after another.
func contents(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(e.Name() + "\n" + string(b) + "\n")
	}
	return all.String()
}

func TestSecretsThatOthersCanReadAreRefused(t *testing.T) {
	authorityDir, nodeDir := saved(t)
	for _, path := range []string{filepath.Join(nodeDir, nodeKey), filepath.Join(nodeDir, nodeGossip),
		filepath.Join(authorityDir, authorityKey), filepath.Join(authorityDir, authoritySecret)} {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		var err error
		if filepath.Dir(path) == nodeDir {
			_, err = Load(nodeDir)
		} else {
			_, err = Open(authorityDir)
		}
		wantError(t, err, path, "0640", "chmod 600")
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSpoiltFilesAreNamed(t *testing.T) {
	other := t.TempDir()
	if err := issue(t, authority(t, "here"), "a").Save(other, true); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if err := issue(t, authority(t, "there"), "a").Save(foreign, true); err != nil {
		t.Fatal(err)
	}
	from := func(dir, name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	_, own := saved(t)
	for what, c := range map[string]struct {
		file string
		data []byte // nil to remove it
		want string
	}{
		"no certificate":          {nodeCert, nil, "orrery ca issue"},
		"garbage certificate":     {nodeCert, []byte("garbage"), "not a PEM file of certificates"},
		"empty certificate":       {nodeCert, []byte("\n"), "no certificate in it"},
		"key as certificate":      {nodeCert, from(own, nodeKey), "not a PEM file of certificates"},
		"two certificates":        {nodeCert, bytes.Repeat(from(own, nodeCert), 2), "not the one certificate"},
		"an authority's":          {nodeCert, from(own, authorityCert), "not the one certificate of a node"},
		"a huge file":             {nodeCert, make([]byte, maxFile+1), "more than"},
		"no key":                  {nodeKey, nil, "no such file"},
		"garbage key":             {nodeKey, []byte("garbage"), "not a PEM file of a private key"},
		"another's key":           {nodeKey, from(other, nodeKey), "not the key of the certificate"},
		"another's authority":     {authorityCert, from(other, authorityCert), "not issued by an authority"},
		"a cluster's of no tie":   {authorityCert, from(foreign, authorityCert), "not of an authority of cluster here"},
		"a node as authority":     {authorityCert, from(own, nodeCert), "not of an authority"},
		"no gossip key":           {nodeGossip, nil, "no such file"},
		"an empty gossip key":     {nodeGossip, []byte("\n"), "is empty"},
		"a short gossip key":      {nodeGossip, []byte("abcd\n"), "line 1 is not 32 bytes"},
		"a gossip key of letters": {nodeGossip, append(from(own, nodeGossip), "xyz"...), "line 2 is not 32 bytes"},
	} {
		t.Run(what, func(t *testing.T) {
			_, dir := saved(t)
			path := filepath.Join(dir, c.file)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if c.data != nil {
				if err := os.WriteFile(path, c.data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir)
			wantError(t, err, path, c.want)
		})
	}
}

func TestANodesDirectoryIsNoAuthority(t *testing.T) {
	_, nodeDir := saved(t)
	_, err := Open(nodeDir)
	wantError(t, err, nodeDir, "directory of a node")
	_, err = Open(t.TempDir())
	wantError(t, err, "orrery ca init")
}

func TestOnlyNamesOfNodesAreIssued(t *testing.T) {
	a := authority(t, "here")
	for _, name := range []string{"", "a b", "a/b", "a+b", "ä", "*", strings.Repeat("x", MaxName+1)} {
		if _, err := a.Issue(name, Days(now, 1)); err == nil {
			t.Errorf("issued to %q", name)
		}
		if _, err := New(name, Days(now, 1)); err == nil {
			t.Errorf("an authority of cluster %q", name)
		}
	}
	for _, name := range []string{"A-z_0.9", ".", strings.Repeat("x", MaxName)} {
		id := issue(t, a, name)
		if got, err := NameOf(id.Certificate().Leaf); err != nil || got != (Name{"here", name}) {
			t.Errorf("the certificate of %q is of %v, %v", name, got, err)
		}
	}
}

func TestACertificateCoversItsNodeAndTheSessionsOfIt(t *testing.T) {
	n := Name{"here", "lap"}
	for name, want := range map[string]bool{
		"lap": true, "lap+1": true, "lap+": true, n.Session(): true,
		"": false, "la": false, "lap1": false, "lap.1": false, "Lap": false, "top": false, "+lap": false,
	} {
		if n.Covers(name) != want {
			t.Errorf("%s covers %q: %t", n, name, !want)
		}
	}
	if (Name{}).Covers("") || (Name{}).Covers("+1") {
		t.Error("no name covers a name")
	}
	if one, other := n.Session(), n.Session(); one == other {
		t.Error("two sessions have one name")
	}
}

func TestNoCertificateOutlastsItsAuthority(t *testing.T) {
	a := authority(t, "here")
	_, err := a.Issue("a", Days(now, 101))
	wantError(t, err, "outlast")
	_, err = a.Issue("a", Period{now.AddDate(-1, 0, 0), now})
	wantError(t, err, "outlast")
	_, err = a.Issue("a", Period{now, now})
	wantError(t, err, "never be valid")
	_, err = New("here", Period{now, now.Add(-time.Hour)})
	wantError(t, err, "never be valid")
}

func TestACertificateMayLastAsLongAsItsAuthority(t *testing.T) {
	valid := Days(now.Add(700*time.Millisecond), 100) // certificates hold whole seconds
	a, err := New("lab", valid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue("a", valid); err != nil {
		t.Error(err)
	}
}

func TestAnIdentityKnowsItsTime(t *testing.T) {
	id := issue(t, authority(t, "here"), "a")
	if err := id.Check(now); err != nil {
		t.Error(err)
	}
	wantError(t, id.Check(now.AddDate(0, 0, 11)), "expired", "orrery ca issue a")
	wantError(t, id.Check(now.AddDate(0, 0, -1)), "not valid before", "clock")
}

func TestAnIdentityCanTrustTheAuthorityBeforeAndTheOneAfter(t *testing.T) {
	old, next := authority(t, "here"), authority(t, "here")
	first, second := issue(t, old, "a", next), issue(t, next, "b", old)
	for _, id := range []*Identity{first, second} {
		for _, peer := range []*Identity{first, second} {
			if _, err := peer.Certificate().Leaf.Verify(x509.VerifyOptions{Roots: id.Roots()}); err != nil {
				t.Errorf("%v does not trust %v: %v", id.Name(), peer.Name(), err)
			}
		}
	}
	if !bytes.Equal(first.GossipKeys()[0], second.GossipKeys()[1]) || !bytes.Equal(first.GossipKeys()[1], second.GossipKeys()[0]) {
		t.Error("they cannot read each other's gossip")
	}
	if bytes.Equal(first.GossipKeys()[0], first.GossipKeys()[1]) {
		t.Error("two authorities have one gossip key")
	}
	dir := t.TempDir()
	if err := first.Save(dir, false); err != nil {
		t.Fatal(err)
	}
	if id, err := Load(dir); err != nil || len(id.GossipKeys()) != 2 {
		t.Errorf("loaded: %v", err)
	}
	if _, err := old.Issue("a", Days(now, 1), authority(t, "there")); err == nil {
		t.Error("an authority of another cluster is trusted")
	}
}

func TestDescribeListsACertificateForEachThatIsThere(t *testing.T) {
	authorityDir, nodeDir := saved(t)
	of, err := Describe(authorityDir)
	if err != nil || len(of) != 1 || of[0].Name != (Name{"here", ""}) || len(of[0].Fingerprint) != 64 {
		t.Errorf("authority: %+v, %v", of, err)
	}
	both, err := Describe(nodeDir)
	if err != nil || len(both) != 2 || both[0].Name != (Name{"here", "a"}) || both[1].Fingerprint != of[0].Fingerprint {
		t.Errorf("node: %+v, %v", both, err)
	}
	_, err = Describe(t.TempDir())
	wantError(t, err, nodeCert, authorityCert)
}

// A certificate that nobody of this package made must not pass for a name.
func FuzzNameOf(f *testing.F) {
	a, err := New("here", Days(now, 10))
	if err != nil {
		f.Fatal(err)
	}
	id, err := a.Issue("a", Days(now, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id.cert.Raw)
	f.Add(a.cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		n, err := NameOf(c)
		if err != nil {
			return
		}
		if CheckName(n.Cluster) != nil || !c.IsCA && CheckName(n.Node) != nil || c.IsCA && n.Node != "" {
			t.Errorf("a certificate of %+v", n)
		}
	})
}
