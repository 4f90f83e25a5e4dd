"""A generative adversarial network (DCGAN): transposed convolutions draw 16x16 pictures, a network judges them."""

import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset

latent_dim = 16
feature_maps = 8
batch_size = 32
num_epochs = 6
lr = 2e-3
beta1 = 0.5

real_label = 1.0
fake_label = 0.0


def make_dataset(count):
    """Pictures of soft round blobs at random places, values in [-1, 1]."""
    axis = torch.arange(16).float()
    x = 5.0 + 6.0 * torch.rand(count, 1, 1)
    y = 5.0 + 6.0 * torch.rand(count, 1, 1)
    distance = (axis.view(1, 1, 16) - x) ** 2 + (axis.view(1, 16, 1) - y) ** 2
    return (2.0 * torch.exp(-distance / 8.0) - 1.0).unsqueeze(1)


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            # (N, latent_dim, 1, 1)
            nn.ConvTranspose2d(latent_dim, feature_maps * 4, 4, 1, 0, bias=False),
            nn.BatchNorm2d(feature_maps * 4),
            nn.ReLU(True),
            # (N, feature_maps * 4, 4, 4)
            nn.ConvTranspose2d(feature_maps * 4, feature_maps * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(feature_maps * 2),
            nn.ReLU(True),
            # (N, feature_maps * 2, 8, 8)
            nn.ConvTranspose2d(feature_maps * 2, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
            # (N, 1, 16, 16)
        )

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, feature_maps, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(feature_maps, feature_maps * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(feature_maps * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(feature_maps * 2, 1, 4, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, input):
        return self.main(input).view(-1)


def main():
    torch.manual_seed(0)
    device = "cpu"
    dataset = TensorDataset(make_dataset(512))
    dataloader = DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True)

    netG = Generator().to(device)
    netG.apply(weights_init)
    netD = Discriminator().to(device)
    netD.apply(weights_init)

    criterion = nn.BCELoss()
    fixed_noise = torch.randn(64, latent_dim, 1, 1, device=device)
    optimizerD = optim.Adam(netD.parameters(), lr=lr, betas=(beta1, 0.999))
    optimizerG = optim.Adam(netG.parameters(), lr=lr, betas=(beta1, 0.999))

    real_mean = dataset.tensors[0].mean().item()
    with torch.no_grad():
        before = abs(netG(fixed_noise).mean().item() - real_mean)
    print(f"distance_before {before:.4f}")

    for epoch in range(num_epochs):
        for (real,) in dataloader:
            # Discriminator: maximise log(D(x)) + log(1 - D(G(z)))
            netD.zero_grad()
            real = real.to(device)
            label = torch.full((real.size(0),), real_label, dtype=torch.float, device=device)
            output = netD(real)
            errD_real = criterion(output, label)
            errD_real.backward()
            D_x = output.mean().item()

            noise = torch.randn(real.size(0), latent_dim, 1, 1, device=device)
            fake = netG(noise)
            label.fill_(fake_label)
            output = netD(fake.detach())
            errD_fake = criterion(output, label)
            errD_fake.backward()
            errD = errD_real + errD_fake
            optimizerD.step()

            # Generator: maximise log(D(G(z)))
            netG.zero_grad()
            label.fill_(real_label)
            output = netD(fake)
            errG = criterion(output, label)
            errG.backward()
            optimizerG.step()
        print(f"epoch {epoch} loss_d {errD.item():.4f} loss_g {errG.item():.4f} d_x {D_x:.4f}")

    netG.eval()
    with torch.no_grad():
        pictures = netG(fixed_noise).cpu()
    print(f"shape {list(pictures.shape)}")
    print(f"distance_after {abs(pictures.mean().item() - real_mean):.4f}")
    print(f"brightest {pictures.max().item():.4f}")


if __name__ == "__main__":
    main()
