ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.16:80 -g -w 1
ipvsadm -A -t 192.0.2.11:53 -s ovf
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.13:53 -m -w 5
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.11:53 -m -w 3 -x 6 -y 0
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.12:53 -m -w 0 -x 5 -y 1
ipvsadm -A -t 192.0.2.10:53 -s wlc
ipvsadm -a -t 192.0.2.10:53 -r [2001:db8:2::17]:8080 -i -w 1
ipvsadm -a -t 192.0.2.10:53 -r [2001:db8:2::11]:53 -i -w 1 --tun-type ipip
