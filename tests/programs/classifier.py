"""Classify images of digits: a Dataset, a DataLoader, a convolutional network, a training loop with a schedule."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, random_split

# Hyperparameters
BATCH_SIZE = 64
EPOCHS = 3
LEARNING_RATE = 1e-3


class Shapes(Dataset):
    """Noisy 16x16 images of four kinds: a horizontal bar, a vertical bar, a cross, a square."""

    def __init__(self, count, generator):
        self.labels = torch.randint(0, 4, (count,), generator=generator)
        self.images = 0.3 * torch.randn(count, 1, 16, 16, generator=generator)
        rows = torch.randint(2, 10, (count,), generator=generator)
        columns = torch.randint(2, 10, (count,), generator=generator)
        for i in range(count):
            r, c, label = int(rows[i]), int(columns[i]), int(self.labels[i])
            if label in (0, 2):
                self.images[i, 0, r + 2, c : c + 5] += 1.0
            if label in (1, 2):
                self.images[i, 0, r : r + 5, c + 2] += 1.0
            if label == 3:
                self.images[i, 0, r : r + 4, c : c + 4] += 1.0

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((4, 4)),
        )
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 4)

    def forward(self, x):
        x = self.features(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(self.dropout(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def train(model, device, loader, optimizer, epoch):
    model.train()
    running_loss = 0.0
    for data, target in loader:
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=5.0)
        optimizer.step()
        running_loss += loss.item() * data.size(0)
    print(f"epoch {epoch} train_loss {running_loss / len(loader.dataset):.4f}")


def test(model, device, loader, epoch):
    model.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for data, target in loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    test_loss /= len(loader.dataset)
    accuracy = correct / len(loader.dataset)
    print(f"epoch {epoch} test_loss {test_loss:.4f}")
    print(f"epoch {epoch} test_accuracy {accuracy:.4f}")


def main():
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    dataset = Shapes(1200, generator)
    train_set, test_set = random_split(dataset, [1000, 200], generator=generator)
    train_loader = DataLoader(train_set, batch_size=BATCH_SIZE, shuffle=True, num_workers=0, pin_memory=False)
    test_loader = DataLoader(test_set, batch_size=200)

    model = Net().to(device)
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"parameters {total}")
    print(f"layers {len(list(model.modules()))}")

    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}], lr=LEARNING_RATE
    )
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)

    for epoch in range(1, EPOCHS + 1):
        train(model, device, train_loader, optimizer, epoch)
        test(model, device, test_loader, epoch)
        scheduler.step()
        print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.6f}")


if __name__ == "__main__":
    main()
