using System.Runtime.InteropServices;
using System.Text.Json;
using Hypervisor.Agent.Drivers.Containerd.Spec;

namespace Hypervisor.Agent.Drivers.Containerd.Seccomp;

/// <summary>The node's profile, read once per change of the file and translated once per set of capabilities.</summary>
internal sealed class SeccompProfiles(string path, bool foreignArchitectures)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, SpecSeccomp> _translated = new(StringComparer.Ordinal);
    private SeccompProfile? _profile;
    private DateTime _read;

    /// <exception cref="DriverException">SeccompProfileMissing, SeccompProfileInvalid.</exception>
    public SpecSeccomp For(IReadOnlyList<string> capabilities)
    {
        lock (_lock)
        {
            var written = File.GetLastWriteTimeUtc(path);
            if (_profile is null || written != _read)
            {
                _profile = Read();
                _read = written;
                _translated.Clear();
            }

            var key = string.Join(' ', capabilities);
            if (!_translated.TryGetValue(key, out var translated))
            {
                if (_translated.Count >= ContainerdLimits.CachedImages)
                {
                    _translated.Clear();
                }

                translated = SeccompTranslation.Translate(_profile, capabilities, Target());
                _translated.Add(key, translated);
            }

            return translated;
        }
    }

    private SeccompProfile Read()
    {
        try
        {
            return SeccompProfile.Parse(File.ReadAllBytes(path));
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new DriverException(
                "SeccompProfileMissing",
                $"the node has no seccomp profile at {path}; install the package golang-github-containers-common there, "
                + "or create the instance with security.seccomp UNCONFINED",
                permanent: false,
                error);
        }
        catch (Exception error) when (error is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new DriverException(
                "SeccompProfileInvalid", $"the node's seccomp profile at {path} cannot be used: {error.Message}", permanent: false, error);
        }
    }

    private SeccompTarget Target() => new(
        RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => "amd64",
            Architecture.Arm64 => "arm64",
            Architecture.RiscV64 => "riscv64",
            Architecture.S390x => "s390x",
            Architecture.Ppc64le => "ppc64le",
            var other => other.ToString(),
        },
        new Version(Environment.OSVersion.Version.Major, Environment.OSVersion.Version.Minor),
        foreignArchitectures);
}
