namespace Hypervisor.Server;

internal static partial class Limits
{
    /// <summary>What a guest is told by cloud-init: all of it is part of the specification, which has a bound of its own.</summary>
    internal static class CloudInit
    {
        /// <summary>Of user-data, and of all files together. Clouds take 16 KiB of user-data; a seed here is a file, so there is some more.</summary>
        public const int Bytes = 64 * 1024;

        /// <summary>Accounts that a first boot makes: people who administer one machine.</summary>
        public const int Users = 32;

        public const int Groups = 32;

        public const int Keys = 64;

        /// <summary>An RSA key of 16,384 bits takes 2,800 characters, and options stand before it.</summary>
        public const int KeyCharacters = 8192;

        /// <summary>A first boot installs them one after the other; more are an image of their own.</summary>
        public const int Packages = 256;

        public const int Files = 64;

        public const int Commands = 64;
    }
}
